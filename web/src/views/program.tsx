import type { VNode } from "preact";
import { useState } from "preact/hooks";
import type { SignInWaysClient } from "../api/client";
import { problemOf } from "../api/errors";
import { answerHref } from "../model/provider";
import type { AskingProgram } from "../model/route";
import { endsSession, useSession } from "../session";
import { ErrorNotice } from "../ui/notice";
import { Welcome } from "./welcome";

interface ProgramProps extends AskingProgram {
  ways: SignInWaysClient;
}

/** Asks whether a program may sign in as who is here, and hands it a code. */
export function ProgramPage({ ways, challenge, port, state }: ProgramProps): VNode {
  const session = useSession();
  const [busy, setBusy] = useState(false);
  const [message, setMessage] = useState("");
  const [code, setCode] = useState("");

  const allow = async (): Promise<void> => {
    setBusy(true);
    setMessage("");
    try {
      const allowed = await ways.allowProgram({ challenge });
      if (port !== 0) {
        // Not kept in the history: the code is used up by then.
        location.replace(answerHref(port, allowed.code, state));
        return;
      }
      setCode(`${allowed.code}.${state}`);
    } catch (error) {
      const problem = problemOf(error);
      if (endsSession(session, problem)) return;
      setMessage(problem.message);
    }
    setBusy(false);
  };

  return (
    <Welcome>
      <div class="card welcome-card program-card">
        <h2>Let a program sign in?</h2>
        {message !== "" && <ErrorNotice>{message}</ErrorNotice>}
        <p>
          <code>rolltop login</code> asks to work as <strong>{session.user.name}</strong>. Only say yes if you have just
          begun it yourself, and it shows <strong data-testid="program-mark">{challenge.slice(0, 8)}</strong> as well.
        </p>
        {code === "" ? (
          <>
            <button
              type="button"
              class="button button-primary button-wide"
              data-testid="program-allow"
              aria-busy={busy}
              disabled={busy}
              onClick={() => void allow()}
            >
              Yes, let it sign in
            </button>
            <a class="button button-wide" href="#/" data-testid="program-refuse">
              No
            </a>
          </>
        ) : (
          <label class="field">
            <span>Give it this code within two minutes</span>
            <input
              readOnly
              value={code}
              data-testid="program-code"
              onFocus={(event) => event.currentTarget.select()}
            />
          </label>
        )}
      </div>
    </Welcome>
  );
}
