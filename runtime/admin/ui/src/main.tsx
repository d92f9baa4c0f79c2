import { render } from "preact";
import { App } from "./app";
import { recall } from "./api";
import { startRouting } from "./route";
import { start } from "./store";
import { startTheme } from "./theme";

startTheme();
startRouting();
start();
recall();
const root = document.getElementById("app")!;
root.replaceChildren(); // what was there until now
render(<App />, root);
