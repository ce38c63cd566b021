import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { problemOf } from "../api/errors";
import { endWarning } from "../model/desktops";
import { endsSession, useSession } from "../session";
import { Confirm } from "../ui/dialog";
import { ErrorNotice } from "../ui/notice";

interface LeavePanelProps {
  desktop: string;
  title: string;
  persistent: boolean;
}

/** Two ways to go: leave it running, or end it. The gateway tells when it has ended. */
export function LeavePanel({ desktop, title, persistent }: LeavePanelProps): VNode {
  const session = useSession();
  const [asking, setAsking] = useState(false);
  const [ending, setEnding] = useState(false);
  const [message, setMessage] = useState("");

  const end = async (): Promise<void> => {
    setAsking(false);
    setEnding(true);
    setMessage("");
    try {
      await session.broker.stopDesktop({ desktop });
    } catch (error) {
      const problem = problemOf(error);
      if (!endsSession(session, problem)) setMessage(problem.message);
      setEnding(false);
    }
  };

  return (
    <>
      {message !== "" && <ErrorNotice>{message}</ErrorNotice>}
      <a class="menu-item" href="#/" data-testid="toolbar-home">
        Leave it running
        <small>Back to your desktops. Closing the tab does the same.</small>
      </a>
      <button
        type="button"
        class="menu-item"
        disabled={ending}
        data-testid="toolbar-end"
        onClick={() => setAsking(true)}
      >
        {ending ? "Logging out…" : "Log out"}
        <small>Ends the session and its programs.</small>
      </button>
      {asking && (
        <Confirm
          title={`Log out of ${title}?`}
          text={endWarning(persistent)}
          action="Log out"
          onConfirm={() => void end()}
          onClose={() => setAsking(false)}
        />
      )}
    </>
  );
}
