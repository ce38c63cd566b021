import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { runningFor, stateLook } from "../../model/desktops";
import { formatBytes } from "../../model/format";
import { useNow } from "../../ui/clock";
import { RowName, State } from "../../ui/parts";
import { useCluster } from "../data";
import { Grid } from "../ui/grid";
import { DesktopDialog } from "./desktop-dialog";

/** Everybody's desktops, live. */
export function DesktopsPage(): VNode {
  const { desktops } = useCluster();
  const [openId, setOpenId] = useState<string>();
  const open = openId === undefined ? undefined : desktops?.get(openId);
  const now = useNow(10_000);
  return (
    <>
      <Grid
        name="desktops"
        rows={desktops?.values()}
        rowKey={({ id }) => id}
        empty="Nobody has a desktop now."
        columns={[
          { title: "Desktop", value: ({ id }) => id, show: ({ id }) => <RowName name={id} onOpen={() => setOpenId(id)} /> },
          { title: "State", value: ({ state }) => stateLook(state).label, show: ({ state }) => <State look={stateLook(state)} /> },
          { title: "Host", value: ({ host }) => host },
          {
            title: "Image",
            value: ({ image, version, behind }) => `${version === "" ? image : `${image} (${version})`}${behind ? ", behind" : ""}`,
          },
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
      {open !== undefined && <DesktopDialog key={open.id} desktop={open} onClose={() => setOpenId(undefined)} />}
    </>
  );
}
