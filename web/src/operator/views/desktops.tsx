import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { VNode } from "preact";
import { useState } from "preact/hooks";
import type { Desktop } from "../../gen/rolltop/v1/broker_pb";
import { runningFor, stateLook } from "../../model/desktops";
import { formatAge, formatBytes } from "../../model/format";
import { useNow } from "../../ui/clock";
import { useCluster } from "../data";
import { type Column, Grid } from "../ui/grid";
import { RowName, State } from "../ui/parts";
import { DesktopDialog } from "./desktop-dialog";

/** Everybody's desktops, live. */
export function DesktopsPage(): VNode {
  const now = useNow(10_000);
  return (
    <DesktopGrid
      name="desktops"
      keep={() => true}
      empty="Nobody has a desktop now."
      columns={[
        { title: "State", value: ({ state }) => stateLook(state).label, show: ({ state }) => <State look={stateLook(state)} /> },
        { title: "Host", value: ({ host }) => host },
        { title: "Image", value: ({ image, version }) => (version === "" ? image : `${image} (${version})`) },
        { title: "Address", value: ({ ip }) => ip },
        {
          title: "Memory",
          value: ({ usage }) => Number(usage?.memoryBytes ?? 0n),
          show: ({ usage }) => (usage === undefined ? "" : formatBytes(usage.memoryBytes)),
        },
        {
          title: "Running",
          value: ({ startedAt }) => (startedAt === undefined ? 0 : timestampMs(startedAt)),
          show: (desktop) => runningFor(desktop, now),
        },
      ]}
    />
  );
}

/** Who looks at which desktop now. */
export function SessionsPage(): VNode {
  const now = useNow(10_000);
  return (
    <DesktopGrid
      name="sessions"
      keep={({ viewer }) => viewer !== undefined}
      empty="Nobody looks at a desktop now. Desktops nobody looks at are on the page Desktops."
      columns={[
        { title: "Looking", value: ({ viewer }) => viewer?.user ?? "" },
        { title: "From", value: ({ viewer }) => viewer?.address ?? "" },
        {
          title: "Since",
          value: ({ viewer }) => (viewer?.since === undefined ? 0 : timestampMs(viewer.since)),
          show: ({ viewer }) => (viewer?.since === undefined ? "" : formatAge(timestampMs(viewer.since), now)),
        },
        { title: "Host", value: ({ host }) => host },
      ]}
    />
  );
}

interface DesktopGridProps {
  name: string;
  keep: (desktop: Desktop) => boolean;
  empty: string;
  columns: readonly Column<Desktop>[];
}

function DesktopGrid({ name, keep, empty, columns }: DesktopGridProps): VNode {
  const { desktops } = useCluster();
  const [openId, setOpenId] = useState<string>();
  const open = openId === undefined ? undefined : desktops?.get(openId);
  return (
    <>
      <Grid
        name={name}
        rows={desktops && [...desktops.values()].filter(keep)}
        rowKey={({ id }) => id}
        empty={empty}
        columns={[
          { title: "Desktop", value: ({ id }) => id, show: ({ id }) => <RowName name={id} onOpen={() => setOpenId(id)} /> },
          ...columns,
        ]}
      />
      {open !== undefined && <DesktopDialog key={open.id} desktop={open} onClose={() => setOpenId(undefined)} />}
    </>
  );
}
