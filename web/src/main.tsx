import { render } from "preact";
import { brokerAt, signInWaysAt } from "./api/client";
import { App } from "./app";

const root = document.getElementById("app");
if (root === null) throw new Error("the page has no #app");
render(<App broker={brokerAt(location.origin)} ways={signInWaysAt(location.origin)} />, root);
