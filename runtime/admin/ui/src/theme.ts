import { signal } from "@preact/signals";

export type Theme = "auto" | "light" | "dark";

const key = "wasmill-theme";
const system = matchMedia("(prefers-color-scheme: dark)");

export const theme = signal<Theme>("auto");
export const dark = signal(system.matches); // what is shown

function apply(): void {
  dark.value = theme.value === "auto" ? system.matches : theme.value === "dark";
  document.documentElement.dataset.theme = dark.value ? "dark" : "light";
}

export function startTheme(): void {
  const saved = localStorage.getItem(key);
  if (saved === "light" || saved === "dark") theme.value = saved;
  system.addEventListener("change", apply);
  apply();
}

export function switchTheme(): void {
  theme.value = dark.value ? "light" : "dark";
  localStorage.setItem(key, theme.value);
  apply();
}
