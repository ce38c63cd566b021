/** A secret as people read it: in groups of four. */
export function grouped(secret: string): string {
  return secret.match(/.{1,4}/g)?.join(" ") ?? "";
}

/** What a token may be made for, as the API names it, and what that is. */
export const SCOPES = [
  ["read", "look at things"],
  ["desktops", "have desktops, and look after data: your own"],
  ["operate", "run the cluster, as far as your role allows"],
  ["admin", "accounts, groups and roles, as far as your role allows"],
] as const;

/** Days until a token made now ends at most. */
export const MOST_DAYS = 366;

/** The days of a text; undefined if a token cannot live that long. */
export function daysOf(text: string): number | undefined {
  const days = /^[0-9]{1,3}$/.test(text.trim()) ? Number(text) : 0;
  return days >= 1 && days <= MOST_DAYS ? days : undefined;
}
