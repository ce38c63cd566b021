import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { useOwnAct } from "../act";
import type { PeopleClient } from "../api/client";
import type { BeginTotpResponse } from "../gen/rolltop/v1/people_pb";
import { useSession } from "../session";
import { Dialog } from "../ui/dialog";
import { ErrorNotice } from "../ui/notice";
import { Field, FormButtons } from "../ui/parts";
import { save } from "../ui/save";
import { grouped } from "./secret";
import { QrCode } from "./qr";

interface SecondFactorProps {
  people: PeopleClient;
  /** Signing in takes a code already. */
  on: boolean;
  onChanged: () => void;
}

/** Codes of an app, asked for beside the password. */
export function SecondFactor({ people, on, onChanged }: SecondFactorProps): VNode {
  const [open, setOpen] = useState<"set-up" | "take-away">();
  const close = (): void => {
    setOpen(undefined);
    onChanged();
  };
  return (
    <div class="card account-card">
      <p data-testid="second-factor-state">
        {on
          ? "Signing in takes a code of your authenticator app, or a recovery code, beside the password."
          : "Your password alone signs you in. With a second factor, it takes a code of an app on your phone too."}
      </p>
      <div class="actions">
        {on ? (
          <button type="button" class="button" data-testid="second-factor-off" onClick={() => setOpen("take-away")}>
            Take it away
          </button>
        ) : (
          <button type="button" class="button button-primary" data-testid="second-factor-on" onClick={() => setOpen("set-up")}>
            Set up
          </button>
        )}
      </div>
      {open === "set-up" && <SetUp people={people} onClose={close} />}
      {open === "take-away" && <TakeAway people={people} onClose={close} />}
    </div>
  );
}

interface StepProps {
  people: PeopleClient;
  onClose: () => void;
}

/** The password, then the app's secret, then a code of it, then recovery codes. */
function SetUp({ people, onClose }: StepProps): VNode {
  const { user } = useSession();
  const { busy, message, act } = useOwnAct();
  const [begun, setBegun] = useState<BeginTotpResponse>();
  const [recovery, setRecovery] = useState<readonly string[]>();
  const [password, setPassword] = useState("");
  const [code, setCode] = useState("");

  const begin = (event: SubmitEvent): void => {
    event.preventDefault();
    void act(async () => setBegun(await people.beginTotp({ currentPassword: password })));
  };
  const confirm = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    const confirmed = await act(async () => setRecovery((await people.confirmTotp({ code: code.replaceAll(" ", "") })).recoveryCodes));
    if (!confirmed) setCode("");
  };
  if (recovery !== undefined) return <RecoveryCodes codes={recovery} onClose={onClose} />;
  if (begun !== undefined) {
    return (
      <Dialog title="Scan this with your app" onClose={onClose}>
        <form data-testid="totp-confirm" onSubmit={(event) => void confirm(event)}>
          {message !== "" && <ErrorNotice>{message}</ErrorNotice>}
          <QrCode text={begun.uri} label="QR code for an authenticator app" />
          <p class="hint">Or type this into the app: a key by time, six digits.</p>
          <pre class="command" tabIndex={0} data-testid="totp-secret">
            {grouped(begun.secret)}
          </pre>
          <Field label="The code that the app shows now">
            <input
              required
              value={code}
              inputMode="numeric"
              autocomplete="one-time-code"
              data-testid="totp-code"
              onInput={(event) => setCode(event.currentTarget.value)}
            />
          </Field>
          <FormButtons busy={busy} action="Confirm" testId="totp-confirm-submit" onClose={onClose} />
        </form>
      </Dialog>
    );
  }
  return (
    <Dialog title="Set up a second factor" onClose={onClose}>
      <form onSubmit={begin}>
        {message !== "" && <ErrorNotice>{message}</ErrorNotice>}
        <p>You need an authenticator app on your phone: any that makes codes by time.</p>
        <input type="hidden" name="username" autocomplete="username" value={user.name} />
        <Password value={password} onInput={setPassword} />
        <FormButtons busy={busy} action="Next" testId="totp-begin" onClose={onClose} />
      </form>
    </Dialog>
  );
}

function TakeAway({ people, onClose }: StepProps): VNode {
  const { busy, message, act } = useOwnAct();
  const [password, setPassword] = useState("");
  const [code, setCode] = useState("");
  const submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    if (await act(() => people.disableTotp({ currentPassword: password, code: code.trim() }))) onClose();
  };
  return (
    <Dialog title="Take the second factor away" onClose={onClose}>
      <form onSubmit={(event) => void submit(event)}>
        {message !== "" && <ErrorNotice>{message}</ErrorNotice>}
        <Password value={password} onInput={setPassword} />
        <Field label="Code of the app, or a recovery code">
          <input
            required
            value={code}
            autocomplete="one-time-code"
            autocapitalize="none"
            data-testid="totp-code"
            onInput={(event) => setCode(event.currentTarget.value)}
          />
        </Field>
        <FormButtons busy={busy} action="Take away" testId="totp-disable" onClose={onClose} />
      </form>
    </Dialog>
  );
}

function Password({ value, onInput }: { value: string; onInput: (value: string) => void }): VNode {
  return (
    <Field label="Your password">
      <input
        type="password"
        required
        value={value}
        autocomplete="current-password"
        data-testid="totp-password"
        onInput={(event) => onInput(event.currentTarget.value)}
      />
    </Field>
  );
}

/** Shown once; the server keeps digests of them. */
function RecoveryCodes({ codes, onClose }: { codes: readonly string[]; onClose: () => void }): VNode {
  const { user } = useSession();
  const text = `${codes.join("\n")}\n`;
  return (
    <Dialog title="Keep these recovery codes" onClose={onClose}>
      <p>From now on signing in takes a code. Each of these signs you in once, should you lose your phone. They are not shown again.</p>
      <pre class="command" tabIndex={0} data-testid="recovery-codes">
        {text}
      </pre>
      <div class="actions actions-end">
        <button
          type="button"
          class="button"
          onClick={() => save(new Blob([text], { type: "text/plain" }), `rolltop-recovery-${user.name}.txt`)}
        >
          Save as a file
        </button>
        <button type="button" class="button button-primary" data-testid="recovery-kept" onClick={onClose}>
          I have kept them
        </button>
      </div>
    </Dialog>
  );
}
