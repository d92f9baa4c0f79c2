import { render } from "preact";
import { App } from "./app";
import { startRouting } from "./route";
import { start } from "./store";
import { startTheme } from "./theme";

startTheme();
startRouting();
start();
render(<App />, document.getElementById("app")!);
