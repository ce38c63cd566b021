import type { VNode } from "preact";
import { useState } from "preact/hooks";
import type { Host } from "../../gen/rolltop/v1/broker_pb";
import { formatBytes } from "../../model/format";
import { useNow } from "../../ui/clock";
import { useAct, useCluster } from "../data";
import { drainProgress, hostLook } from "../model/hosts";
import { type Column, Grid } from "../ui/grid";
import { RowName, State } from "../../ui/parts";
import { Enrol } from "./enrol";
import { HostDialog } from "./host-dialog";

/** All hosts, live. */
export function HostsPage(): VNode {
  const { hosts } = useCluster();
  const { busy } = useAct();
  const [openName, setOpenName] = useState<string>();
  const [enrolling, setEnrolling] = useState(false);
  const now = useNow(1_000);
  const open = openName === undefined ? undefined : hosts?.get(openName);
  const columns: readonly Column<Host>[] = [
    { title: "Host", value: ({ name }) => name, show: ({ name }) => <RowName name={name} onOpen={() => setOpenName(name)} /> },
    { title: "State", value: (host) => hostLook(host).label, show: (host) => <State look={hostLook(host)} /> },
    {
      title: "Desktops",
      value: ({ info }) => Number(info?.desktops ?? 0n),
      show: ({ info }) => (info === undefined ? "" : `${info.desktops} of ${info.maxDesktops}`),
    },
    {
      title: "Memory left",
      value: ({ info }) => Number(info?.memoryAvailableBytes ?? 0n),
      show: ({ info }) => (info === undefined ? "" : formatBytes(info.memoryAvailableBytes)),
    },
    {
      title: "Disk left",
      value: ({ info }) => Number(info?.overlayFreeBytes ?? 0n),
      show: ({ info }) => (info === undefined ? "" : formatBytes(info.overlayFreeBytes)),
    },
    { title: "Labels", value: ({ labels }) => Object.entries(labels).map(([key, value]) => `${key}=${value}`).join(" ") },
    { title: "Note", value: (host) => drainProgress(host, now) || host.problem },
  ];
  return (
    <>
      <Grid
        name="hosts"
        rows={hosts?.values()}
        columns={columns}
        rowKey={({ name }) => name}
        empty="There is no host yet. Add one: the button makes the command to run on it."
      >
        <button type="button" class="button" disabled={busy} data-testid="host-add" onClick={() => setEnrolling(true)}>
          Add a host
        </button>
      </Grid>
      {open !== undefined && <HostDialog key={open.name} host={open} now={now} onClose={() => setOpenName(undefined)} />}
      {enrolling && <Enrol onClose={() => setEnrolling(false)} />}
    </>
  );
}
