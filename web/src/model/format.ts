// Numbers and times, as a person reads them.
import { type Timestamp, timestampDate } from "@bufbuild/protobuf/wkt";

/** "7 ms", "940 ms", "1.2 s", "1 min 5 s". */
export function formatMs(ms: number): string {
  if (ms < 999.5) return `${Math.max(0, Math.round(ms))} ms`;
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`;
  return formatSeconds(ms / 1000);
}

/** "45 s", "1 min 5 s", "2 h 3 min", "3 d 4 h": the two largest units, rounded up to a second. */
export function formatSeconds(seconds: number): string {
  const total = Math.max(0, Math.ceil(seconds));
  const units: [string, number][] = [
    ["d", 86_400],
    ["h", 3_600],
    ["min", 60],
    ["s", 1],
  ];
  const first = units.findIndex(([, size]) => total >= size);
  if (first < 0) return "0 s";
  const parts: string[] = [];
  let rest = total;
  for (const [name, size] of units.slice(first, first + 2)) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count > 0) parts.push(`${count} ${name}`);
  }
  return parts.join(" ");
}

/** "0 B", "1.5 KiB", "200 MiB", "4.2 GiB". */
export function formatBytes(bytes: bigint | number): string {
  let size = Math.max(0, Number(bytes));
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  // 1023.95 would otherwise be shown as "1024.0".
  while (size >= 1023.95 && unit < units.length - 1) {
    size /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || size >= 99.95 ? 0 : 1;
  return `${size.toFixed(digits).replace(/\.0$/, "")} ${units[unit]}`;
}

/** "just now", "for 12 minutes", "for 3 hours", "for 2 days". */
export function formatAge(sinceMs: number, nowMs: number): string {
  const minutes = Math.floor((nowMs - sinceMs) / 60_000);
  if (minutes < 1) return "just now";
  const say = (count: number, unit: string): string =>
    `for ${count} ${unit}${count === 1 ? "" : "s"}`;
  if (minutes < 60) return say(minutes, "minute");
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return say(hours, "hour");
  return say(Math.floor(hours / 24), "day");
}

/** Makes a sentence of a message: a capital, and a full stop unless it ends in some stop already. */
export function sentence(message: string): string {
  const text = message.trim();
  if (text === "") return "";
  const start = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?…]$/.test(start) ? start : `${start}.`;
}

/** A moment as people here write it; nothing where it is not known. */
export function formatWhen(stamp: Timestamp | undefined): string {
  return stamp === undefined ? "" : timestampDate(stamp).toLocaleString();
}
