import { defineConfig } from "vite";

// The build is the same for the same sources and lock file: CI rebuilds it and
// compares. No inline code, styles or data: URLs, which the page's policy refuses.
export default defineConfig({
  base: "/",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    target: "es2022",
    outDir: "dist",
    assetsDir: "assets",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    cssCodeSplit: false,
    sourcemap: false,
    reportCompressedSize: true,
  },
});
