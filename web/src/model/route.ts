// Routes live behind the '#', so that the server has one page to serve.

export type Route = { readonly page: "home" } | { readonly page: "desktop"; readonly pool: string };

/** Pool names as the contract has them; anything else is no address of ours. */
const POOL_NAME = /^[a-z0-9-]{1,40}$/;

/** Reads "#/desktop/POOL"; whatever is not understood is home. */
export function parseRoute(hash: string): Route {
  const match = /^#\/desktop\/([^/]+)$/.exec(hash);
  const pool = match?.[1] ?? "";
  return POOL_NAME.test(pool) ? { page: "desktop", pool } : { page: "home" };
}

/** The address of a route, for links. */
export function routeHref(route: Route): string {
  return route.page === "home" ? "#/" : `#/desktop/${route.pool}`;
}
