import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { problemOf } from "../api/errors";
import { useSession } from "../session";
import { Dialog } from "../ui/dialog";
import { ErrorNotice } from "../ui/notice";

export function ChangePassword({ onClose }: { onClose: () => void }): VNode {
  const { broker, user } = useSession();
  const [message, setMessage] = useState("");
  const [busy, setBusy] = useState(false);
  const [done, setDone] = useState(false);

  const submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    if (!(event.currentTarget instanceof HTMLFormElement)) return;
    const entries = new FormData(event.currentTarget);
    const text = (name: string): string => String(entries.get(name) ?? "");
    if (text("new") !== text("again")) {
      setMessage("The two new passwords are not the same.");
      return;
    }
    setBusy(true);
    setMessage("");
    try {
      await broker.changePassword({ currentPassword: text("current"), newPassword: text("new") });
      setDone(true);
    } catch (error) {
      const problem = problemOf(error);
      const wrong = problem.kind === "signed-out";
      setMessage(wrong ? "The current password is not right." : problem.message);
    }
    setBusy(false);
  };

  if (done) {
    return (
      <Dialog title="Password changed" onClose={onClose}>
        <p role="status">Use the new password the next time you sign in.</p>
        <div class="actions actions-end">
          <button type="button" class="button button-primary" onClick={onClose}>
            Done
          </button>
        </div>
      </Dialog>
    );
  }
  return (
    <Dialog title="Change password" onClose={onClose}>
      <form onSubmit={(event) => void submit(event)}>
        {message !== "" && <ErrorNotice>{message}</ErrorNotice>}
        <input type="hidden" name="username" autocomplete="username" value={user.name} />
        <PasswordField name="current" label="Current password" autocomplete="current-password" />
        <PasswordField name="new" label="New password" autocomplete="new-password" />
        <PasswordField name="again" label="New password again" autocomplete="new-password" />
        <div class="actions actions-end">
          <button type="button" class="button" onClick={onClose}>
            Cancel
          </button>
          <button class="button button-primary" aria-busy={busy} disabled={busy}>
            Change password
          </button>
        </div>
      </form>
    </Dialog>
  );
}

interface PasswordFieldProps {
  name: string;
  label: string;
  autocomplete: "current-password" | "new-password";
}

function PasswordField({ name, label, autocomplete }: PasswordFieldProps): VNode {
  return (
    <label class="field">
      <span>{label}</span>
      <input type="password" name={name} autocomplete={autocomplete} required />
    </label>
  );
}
