import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { VNode } from "preact";
import { useMemo, useState } from "preact/hooks";
import { DesktopState } from "../../gen/rolltop/v1/common_pb";
import type { Session } from "../../gen/rolltop/v1/sessions_pb";
import { stateLook } from "../../model/desktops";
import { formatAge } from "../../model/format";
import { useNow } from "../../ui/clock";
import { ErrorNotice } from "../../ui/notice";
import { RowName, State } from "../../ui/parts";
import { useAct, useCluster, useFeed } from "../data";
import { Grid } from "../ui/grid";
import { MessageDialog } from "./message-dialog";
import { SessionDialog } from "./session-dialog";

const AGAIN_MS = 300_000;

/** Who works in which desktop, and who looks at it: live. */
export function SessionsPage(): VNode {
  const { clients } = useCluster();
  const { busy } = useAct();
  const { rows: sessions, trouble } = useFeed<Session>(
    useMemo(
      () => ({
        list: async (signal) => (await clients.sessions.listSessions({ all: true }, { signal })).sessions,
        watch: (signal) => clients.sessions.watchSessions({ all: true }, { signal }),
        key: ({ desktop }) => desktop,
        stays: ({ state }) => state !== DesktopState.GONE && state !== DesktopState.FAILED,
        againMs: AGAIN_MS,
      }),
      [clients],
    ),
  );
  const [openId, setOpenId] = useState<string>();
  const [writing, setWriting] = useState(false);
  const open = openId === undefined ? undefined : sessions?.get(openId);
  const now = useNow(10_000);
  return (
    <>
      {trouble !== undefined && <ErrorNotice>{trouble.message} Trying again…</ErrorNotice>}
      <Grid
        name="sessions"
        rows={sessions?.values()}
        rowKey={({ desktop }) => desktop}
        empty="Nobody has a session now."
        columns={[
          {
            title: "Desktop",
            value: ({ desktop }) => desktop,
            show: ({ desktop }) => <RowName name={desktop} onOpen={() => setOpenId(desktop)} />,
          },
          { title: "State", value: ({ state }) => stateLook(state).label, show: ({ state }) => <State look={stateLook(state)} /> },
          { title: "Looking", value: ({ viewer }) => viewer?.user ?? "nobody" },
          { title: "From", value: ({ viewer }) => viewer?.address ?? "" },
          {
            title: "Since",
            value: ({ viewer }) => (viewer?.since === undefined ? 0 : timestampMs(viewer.since)),
            show: ({ viewer }) => (viewer?.since === undefined ? "" : formatAge(timestampMs(viewer.since), now)),
          },
          { title: "Host", value: ({ host }) => host },
        ]}
      >
        <button type="button" class="button" disabled={busy} data-testid="session-tell" onClick={() => setWriting(true)}>
          Tell people something
        </button>
      </Grid>
      {open !== undefined && (
        <SessionDialog key={open.desktop} session={open} now={now} onClose={() => setOpenId(undefined)} />
      )}
      {writing && <MessageDialog onClose={() => setWriting(false)} />}
    </>
  );
}
