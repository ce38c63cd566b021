// Routes live behind the '#', so that the server has one page to serve.

/** The operators' pages, in the order of their tabs. */
export const OPERATOR_TABS = [
  "overview",
  "hosts",
  "desktops",
  "sessions",
  "pools",
  "images",
  "data",
  "users",
  "groups",
  "audit",
] as const;
export type OperatorTab = (typeof OPERATOR_TABS)[number];

export type Route =
  | { readonly page: "home" }
  | { readonly page: "account" }
  | { readonly page: "desktop"; readonly pool: string }
  | ({ readonly page: "program" } & AskingProgram)
  | { readonly page: "operator"; readonly tab: OperatorTab };

/** A program that asks to be signed in: `rolltop login --browser`. */
export interface AskingProgram {
  /** What only that program can redeem the code with is behind this. */
  readonly challenge: string;
  /** Where it listens on this computer; 0: nowhere, the code is carried by hand. */
  readonly port: number;
  /** By which it knows that it is the answer to its own question. */
  readonly state: string;
}

const PROGRAM = /^#\/program\/([A-Za-z0-9_-]{43})\/([0-9]{1,5})\/([A-Za-z0-9_-]{16,64})$/;

/** Pool names as the contract has them; anything else is no address of ours. */
const POOL_NAME = /^[a-z0-9-]{1,40}$/;

/** Reads "#/account", "#/desktop/POOL", "#/operator/TAB" and "#/program/…"; whatever is not understood is home. */
export function parseRoute(hash: string): Route {
  const program = PROGRAM.exec(hash);
  if (program !== null) {
    const [challenge = "", port = 0, state = ""] = [program[1], Number(program[2]), program[3]];
    return port === 0 || (port >= 1024 && port <= 65535) ? { page: "program", challenge, port, state } : { page: "home" };
  }
  const operator = /^#\/operator(?:\/([a-z]*))?$/.exec(hash);
  if (operator !== null) {
    const tab = OPERATOR_TABS.find((name) => name === operator[1]) ?? "overview";
    return { page: "operator", tab };
  }
  if (hash === "#/account") return { page: "account" };
  const match = /^#\/desktop\/([^/]+)$/.exec(hash);
  const pool = match?.[1] ?? "";
  return POOL_NAME.test(pool) ? { page: "desktop", pool } : { page: "home" };
}

/** The address of a route, for links. */
export function routeHref(route: Route): string {
  switch (route.page) {
    case "home":
      return "#/";
    case "account":
      return "#/account";
    case "desktop":
      return `#/desktop/${route.pool}`;
    case "operator":
      return `#/operator/${route.tab}`;
    case "program":
      return `#/program/${route.challenge}/${route.port}/${route.state}`;
  }
}
