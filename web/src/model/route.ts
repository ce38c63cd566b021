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
  | { readonly page: "operator"; readonly tab: OperatorTab };

/** Pool names as the contract has them; anything else is no address of ours. */
const POOL_NAME = /^[a-z0-9-]{1,40}$/;

/** Reads "#/account", "#/desktop/POOL" and "#/operator/TAB"; whatever is not understood is home. */
export function parseRoute(hash: string): Route {
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
  }
}
