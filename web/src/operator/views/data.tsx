import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { useListed } from "../../act";
import { formatBytes } from "../../model/format";
import { ErrorNotice } from "../../ui/notice";
import { RowName, State } from "../../ui/parts";
import { useAct, useCluster } from "../data";
import { dataLook, kindName, usedShare } from "../model/data";
import { Grid } from "../ui/grid";
import { AdoptDialog } from "./adopt-dialog";
import { DataDialog } from "./data-dialog";

/** Every host is asked for it. */
const EVERY_MS = 20_000;

/** What is kept for people: files of their desktops, and homes. */
export function DataPage(): VNode {
  const { clients } = useCluster();
  const { listed, message, again } = useListed(
    async (signal) => (await clients.storage.listData({ all: true }, { signal })).data,
    EVERY_MS,
  );
  const { busy } = useAct();
  const [adopting, setAdopting] = useState(false);
  const [openId, setOpenId] = useState<string>();
  const open = listed?.find(({ id }) => id === openId);
  return (
    <>
      {message !== "" && <ErrorNotice>{message}</ErrorNotice>}
      <Grid
        name="data"
        rows={listed}
        rowKey={({ id }) => id}
        empty="Nothing is kept for anybody. Pools that keep files, and homes, are what fills this page."
        columns={[
          { title: "Data", value: ({ id }) => id, show: ({ id }) => <RowName name={id} onOpen={() => setOpenId(id)} /> },
          { title: "Of", value: ({ user }) => user },
          { title: "Kind", value: ({ kind }) => kindName(kind) },
          { title: "Host", value: ({ host }) => host },
          {
            title: "Size",
            value: ({ volume }) => Number(volume?.sizeBytes ?? 0n),
            show: ({ volume }) => volume && formatBytes(volume.sizeBytes),
          },
          {
            title: "Full",
            value: ({ volume }) => usedShare(volume) ?? -1,
            show: ({ volume }) => {
              const share = usedShare(volume);
              return share === undefined ? "" : `${Math.round(share)} %`;
            },
          },
          {
            title: "On disk",
            value: ({ volume }) => Number(volume?.allocatedBytes ?? 0n),
            show: ({ volume }) => volume && formatBytes(volume.allocatedBytes),
          },
          { title: "Snapshots", value: ({ volume }) => Number(volume?.snapshots ?? 0n) },
          { title: "State", value: (data) => `${dataLook(data).label} ${data.problem}`, show: (data) => <State look={dataLook(data)} /> },
        ]}
      >
        <button type="button" class="button" disabled={busy} data-testid="data-adopt" onClick={() => setAdopting(true)}>
          Note what a host keeps
        </button>
      </Grid>
      {adopting && (
        <AdoptDialog
          onClose={() => {
            setAdopting(false);
            again();
          }}
        />
      )}
      {open !== undefined && <DataDialog key={open.id} data={open} onChanged={again} onClose={() => setOpenId(undefined)} />}
    </>
  );
}
