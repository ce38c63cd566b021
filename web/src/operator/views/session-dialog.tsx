import type { VNode } from "preact";
import { useState } from "preact/hooks";
import type { Session } from "../../gen/rolltop/v1/sessions_pb";
import { endNotice, stateLook } from "../../model/desktops";
import { formatWhen } from "../../model/format";
import { Confirm, Dialog } from "../../ui/dialog";
import { ErrorNotice } from "../../ui/notice";
import { Facts, Field, State } from "../../ui/parts";
import { useAct, useCluster } from "../data";
import { parseLength } from "../model/lengths";
import { MessageDialog } from "./message-dialog";

interface SessionDialogProps {
  session: Session;
  now: number;
  onClose: () => void;
}

type Asking = "log-out" | "kill" | "message" | undefined;

/** One session: who looks at it, and how it is ended, gently or not. */
export function SessionDialog({ session, now, onClose }: SessionDialogProps): VNode {
  const { clients } = useCluster();
  const { busy, message, act, say } = useAct();
  const [asking, setAsking] = useState<Asking>();
  const [reason, setReason] = useState("");
  const [grace, setGrace] = useState("");
  const [done, setDone] = useState("");
  const { desktop, viewer, notice } = session;
  const back = (): void => setAsking(undefined);

  const disconnect = (event: SubmitEvent): void => {
    event.preventDefault();
    setDone("");
    void act(async () => {
      const { viewer: was } = await clients.sessions.disconnectSession({ desktop, reason: reason.trim() });
      setDone(was === undefined ? "Nobody was looking." : `${was.user} was sent away.`);
    });
  };
  const askLogOut = (event: SubmitEvent): void => {
    event.preventDefault();
    const seconds = parseLength(grace);
    if (seconds === undefined) return say(`“${grace}” is no length of time. Write 30s or 5min, or nothing for the host's own.`);
    setAsking("log-out");
  };
  const logOut = (): void => {
    back();
    const seconds = parseLength(grace) ?? 0;
    const time = seconds === 0 ? {} : { grace: { seconds: BigInt(seconds), nanos: 0 } };
    void act(() => clients.sessions.logOutSession({ desktop, ...time }));
  };
  const kill = (): void => {
    back();
    void act(() => clients.sessions.killSession({ desktop }));
  };
  if (asking === "message") return <MessageDialog desktop={desktop} onClose={back} />;
  if (asking === "log-out") {
    return (
      <Confirm
        title={`Log out ${desktop}?`}
        text="Its programs are asked to end, and are ended when the time is up. What is not kept is lost."
        action="Log out"
        onConfirm={logOut}
        onClose={back}
      />
    );
  }
  if (asking === "kill") {
    return (
      <Confirm
        title={`Kill the session ${desktop}?`}
        text="Its programs are ended without being asked: unsaved work is lost."
        action="Kill"
        onConfirm={kill}
        onClose={back}
      />
    );
  }
  return (
    <Dialog title={desktop} onClose={onClose}>
      <div class="wide" data-testid="session-dialog">
        {message !== "" && <ErrorNotice>{message}</ErrorNotice>}
        <p class="facts" role="status">
          <State look={stateLook(session.state)} />
          <span>{endNotice(session, now)}</span>
          <span data-testid="session-done">{busy ? "Working…" : done}</span>
        </p>
        <Facts
          facts={[
            ["User", session.user],
            ["Pool", session.pool],
            ["Host", session.host],
            ["Started", formatWhen(session.startedAt)],
            ["On the screen of", viewer && `${viewer.user}, from ${viewer.address}, since ${formatWhen(viewer.since)}`],
            ["Told", notice && `${notice.text} (${notice.by})`],
          ]}
        />
        <form class="field-row" onSubmit={disconnect}>
          <Field label="End the connection, and say why" hint="The session goes on, and can be connected to again.">
            <input
              value={reason}
              maxLength={100}
              autocomplete="off"
              data-testid="session-reason"
              onInput={(event) => setReason(event.currentTarget.value)}
            />
          </Field>
          <div class="actions">
            <button class="button" disabled={busy || viewer === undefined} data-testid="session-disconnect">
              Disconnect
            </button>
          </div>
        </form>
        <form class="field-row" onSubmit={askLogOut}>
          <Field label="Log out: time for its programs to end" hint="30s or 5min; empty: as the host has it.">
            <input value={grace} autocomplete="off" data-testid="session-grace" onInput={(event) => setGrace(event.currentTarget.value)} />
          </Field>
          <div class="actions">
            <button class="button" disabled={busy} data-testid="session-log-out">
              Log out
            </button>
            <button type="button" class="button" disabled={busy} data-testid="session-kill" onClick={() => setAsking("kill")}>
              Kill
            </button>
          </div>
        </form>
        <div class="actions actions-end">
          <button type="button" class="button" disabled={busy} data-testid="session-message" onClick={() => setAsking("message")}>
            Send a message
          </button>
          <button type="button" class="button button-primary" data-testid="session-close" onClick={onClose}>
            Close
          </button>
        </div>
      </div>
    </Dialog>
  );
}
