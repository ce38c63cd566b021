import { timestampMs } from "@bufbuild/protobuf/wkt";
import { type Host, HostState } from "../../gen/rolltop/v1/broker_pb";
import { formatSeconds } from "../../model/format";
import type { StateLook } from "../../model/desktops";

/** A host's state as a word and a tone. */
export function hostLook(host: Pick<Host, "state" | "revoked">): StateLook {
  if (host.revoked) return { label: "Revoked", tone: "bad" };
  switch (host.state) {
    case HostState.READY:
      return { label: "Ready", tone: "good" };
    case HostState.DRAINING:
      return { label: "Draining", tone: "busy" };
    case HostState.DRAINED:
      return { label: "Drained", tone: "busy" };
    case HostState.SUSPECT:
      return { label: "Silent", tone: "bad" };
    case HostState.LOST:
      return { label: "Lost", tone: "bad" };
    case HostState.UNKNOWN:
    case HostState.UNSPECIFIED:
      return { label: "Never seen", tone: "busy" };
  }
}

/** How far a drain is; empty when the host is not being drained. */
export function drainProgress(host: Pick<Host, "drain">, nowMs: number): string {
  const { drain } = host;
  if (drain === undefined) return "";
  const left = Number(drain.remaining);
  if (left === 0) return "Empty: nothing is left to end.";
  const still = left === 1 ? "1 desktop is still there" : `${left} desktops are still there`;
  if (drain.deadline === undefined) return `${still}; they may stay as long as they like.`;
  const seconds = (timestampMs(drain.deadline) - nowMs) / 1000;
  return seconds <= 0 ? `${still}; they are being ended now.` : `${still}; they are ended in ${formatSeconds(seconds)}.`;
}

/** What ready hosts have left, and all of them together. */
export interface Room {
  readonly ready: number;
  readonly memory: number;
  readonly memoryTotal: number;
  readonly cpus: number;
  readonly desktops: number;
  readonly desktopsTotal: number;
  readonly disk: number;
}

/** Sums over the hosts that take desktops now. */
export function room(hosts: Iterable<Host>): Room {
  const sum = { ready: 0, memory: 0, memoryTotal: 0, cpus: 0, desktops: 0, desktopsTotal: 0, disk: 0 };
  for (const { state, revoked, info } of hosts) {
    if (state !== HostState.READY || revoked || info === undefined) continue;
    sum.ready += 1;
    sum.memory += Number(info.memoryAvailableBytes);
    sum.memoryTotal += Number(info.memoryBytes);
    sum.cpus += Number(info.cpus);
    sum.desktops += Math.max(0, Number(info.maxDesktops - info.desktops));
    sum.desktopsTotal += Number(info.maxDesktops);
    sum.disk += Number(info.overlayFreeBytes);
  }
  return sum;
}

/** How many of each look there are, in the order of the first. */
export function counted(labels: Iterable<string>): [string, number][] {
  const counts = new Map<string, number>();
  for (const label of labels) counts.set(label, (counts.get(label) ?? 0) + 1);
  return [...counts];
}

/** "key=value" terms of a text, by spaces, commas or lines. */
export function parseLabels(text: string): { readonly labels: Record<string, string>; readonly fault: string } {
  const labels: Record<string, string> = Object.create(null);
  for (const term of text.split(/[\s,]+/).filter((part) => part !== "")) {
    const [, key, value] = /^([A-Za-z0-9._-]{1,63})=([A-Za-z0-9._-]{0,63})$/.exec(term) ?? [];
    if (key === undefined || value === undefined) {
      return { labels, fault: `“${term}” is no label. Write KEY=VALUE, with letters, digits, “.”, “_” and “-”, such as room=b12.` };
    }
    labels[key] = value;
  }
  return { labels, fault: "" };
}

/** What to set and what to remove to get from one set of labels to another. */
export function labelChange(before: Record<string, string>, after: Record<string, string>) {
  return {
    set: Object.fromEntries(Object.entries(after).filter(([key, value]) => before[key] !== value)),
    remove: Object.keys(before).filter((key) => !(key in after)),
  };
}
