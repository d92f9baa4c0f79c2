import { signal } from "@preact/signals";

export interface Route { path: string[]; query: URLSearchParams }

function read(): Route {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const parts = path.split("/").filter(Boolean);
  return {
    path: parts.map((p) => { try { return decodeURIComponent(p); } catch { return p; } }),
    query: new URLSearchParams(query ?? ""),
  };
}

export const route = signal(read());

export function startRouting(): void {
  addEventListener("hashchange", () => {
    const before = route.value.path[0];
    route.value = read();
    if (route.value.path[0] !== before) {
      scrollTo(0, 0);
      document.getElementById("main")?.focus({ preventScroll: true });
    }
  });
}

export function go(path: string[], query?: Record<string, string>): void {
  const q = new URLSearchParams(Object.entries(query ?? {}).filter(([, v]) => v !== ""));
  location.hash = "#/" + path.map(encodeURIComponent).join("/") + (q.size ? "?" + q : "");
}
