import { render } from "preact";
import { brokerAt } from "./api/client";
import { App } from "./app";

const root = document.getElementById("app");
if (root === null) throw new Error("the page has no #app");
render(<App broker={brokerAt(location.origin)} />, root);
