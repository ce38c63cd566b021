import type { Pool } from "../../gen/rolltop/v1/broker_pb";

/** The names of pools that are open to each group. */
export function openToGroups(pools: readonly Pick<Pool, "name" | "groups">[]): ReadonlyMap<string, readonly string[]> {
  const of = new Map<string, string[]>();
  for (const { name, groups } of pools) {
    for (const group of groups) of.set(group, [...(of.get(group) ?? []), name]);
  }
  return of;
}

/** Who may use a pool, in few words: groups by an "@" before them. */
export function openTo({ users, groups }: Pick<Pool, "users" | "groups">): string {
  const all = [...groups.map((group) => `@${group}`), ...users];
  if (all.length === 0) return "everyone";
  return all.length <= 3 ? all.join(", ") : `${all.slice(0, 2).join(", ")} and ${all.length - 2} more`;
}

/** Names of a text, by spaces, commas or lines; each once. */
export function namesOf(text: string): string[] {
  return [...new Set(text.split(/[\s,]+/).filter((name) => name !== ""))];
}
