import type { VNode } from "preact";
import { Role } from "../../gen/rolltop/v1/broker_pb";
import { ROLES, mayGiveRoles, roleName } from "../../model/people";
import { useSession } from "../../session";
import { Dialog } from "../../ui/dialog";
import { ErrorNotice } from "../../ui/notice";
import { Field, FormButtons } from "../../ui/parts";
import { useAct } from "../data";

/** Makes an account with a password. */
export function NewUser({ onClose, onMade }: { onClose: () => void; onMade: () => void }): VNode {
  const { broker, user } = useSession();
  const { busy, message, act } = useAct();
  const roles = mayGiveRoles(user) ? ROLES : [Role.USER];
  const submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    if (!(event.currentTarget instanceof HTMLFormElement)) return;
    const entries = new FormData(event.currentTarget);
    const text = (name: string): string => String(entries.get(name) ?? "");
    const made = await act(() =>
      broker.createUser({
        name: text("name").trim(),
        fullName: text("full-name").trim(),
        password: text("password"),
        role: roles.find((role) => roleName(role) === text("role")) ?? Role.USER,
      }),
    );
    if (made) onMade();
  };
  return (
    <Dialog title="Add a user" onClose={onClose}>
      <form onSubmit={(event) => void submit(event)}>
        {message !== "" && <ErrorNotice>{message}</ErrorNotice>}
        <Field label="Name">
          <input name="name" required autocapitalize="none" autocomplete="off" data-testid="user-name" />
        </Field>
        <Field label="Full name">
          <input name="full-name" autocomplete="off" data-testid="user-full-name" />
        </Field>
        <Field label="Password">
          <input name="password" type="password" required autocomplete="new-password" data-testid="user-password" />
        </Field>
        {roles.length > 1 && (
          <Field label="Role" hint="Auditors look at everything; operators run the cluster; admins say who may what.">
            <select name="role" data-testid="user-role">
              {roles.map((role) => (
                <option key={role}>{roleName(role)}</option>
              ))}
            </select>
          </Field>
        )}
        <FormButtons busy={busy} action="Add" testId="user-save" onClose={onClose} />
      </form>
    </Dialog>
  );
}

/** Sets the password of somebody else. */
export function SetPassword({ name, onClose }: { name: string; onClose: () => void }): VNode {
  const { broker, user } = useSession();
  const { busy, message, act } = useAct();
  const submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    if (!(event.currentTarget instanceof HTMLFormElement)) return;
    const entries = new FormData(event.currentTarget);
    const currentPassword = String(entries.get("own") ?? "");
    const newPassword = String(entries.get("new") ?? "");
    const set = await act(() => broker.changePassword({ user: name, currentPassword, newPassword }));
    if (set) onClose();
  };
  return (
    <Dialog title={`Set the password of ${name}`} onClose={onClose}>
      <form onSubmit={(event) => void submit(event)}>
        {message !== "" && <ErrorNotice>{message}</ErrorNotice>}
        <Field label={`Your own password, ${user.name}`}>
          <input name="own" type="password" required autocomplete="current-password" />
        </Field>
        <Field label={`New password for ${name}`}>
          <input name="new" type="password" required autocomplete="new-password" />
        </Field>
        <FormButtons busy={busy} action="Set" testId="password-save" onClose={onClose} />
      </form>
    </Dialog>
  );
}
