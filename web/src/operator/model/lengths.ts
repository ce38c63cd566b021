import type { Duration } from "@bufbuild/protobuf/wkt";

const UNITS = { s: 1, min: 60, h: 3_600, d: 86_400 } as const;

/** Seconds of a text such as "90s", "30min", "8h" or "2d"; 0 for none, undefined if it is no length of time. */
export function parseLength(text: string): number | undefined {
  if (text.trim() === "") return 0;
  const [, count, unit] = /^([0-9]{1,9})\s*(s|min|h|d)$/.exec(text.trim()) ?? [];
  if (count === undefined || unit === undefined) return undefined;
  return Number(count) * UNITS[unit as keyof typeof UNITS];
}

/** A length of time as `parseLength` reads it, in the largest unit that leaves no rest; nothing if there is none. */
export function lengthText(length: Pick<Duration, "seconds"> | undefined): string {
  const seconds = Number(length?.seconds ?? 0n);
  if (seconds === 0) return "";
  const units = Object.entries(UNITS).reverse();
  const [unit, size] = units.find(([, one]) => seconds % one === 0) ?? ["s", 1];
  return `${seconds / size}${unit}`;
}
