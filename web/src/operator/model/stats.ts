import { durationMs, timestampMs } from "@bufbuild/protobuf/wkt";
import type { DesktopStats } from "../../gen/rolltop/v1/stats_pb";

/** Processors in use between two answers, as "1.5 %" of one; empty while there is only one. */
export function processorShare(before: DesktopStats | undefined, now: DesktopStats | undefined): string {
  if (before?.cpuTime === undefined || before.at === undefined) return "";
  if (now?.cpuTime === undefined || now.at === undefined) return "";
  const passed = timestampMs(now.at) - timestampMs(before.at);
  if (passed <= 0) return "";
  const share = Math.max(0, ((durationMs(now.cpuTime) - durationMs(before.cpuTime)) / passed) * 100);
  return `${share.toFixed(1)} % of one`;
}

/** Characters of a log that are kept on the page. */
export const LOG_KEPT = 200_000;

/** A log with more text at its end; the oldest lines make room. */
export function appended(log: string, fresh: string): string {
  const whole = log + fresh;
  if (whole.length <= LOG_KEPT) return whole;
  const cut = whole.slice(-LOG_KEPT);
  return cut.slice(cut.indexOf("\n") + 1);
}
