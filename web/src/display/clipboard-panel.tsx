import type { VNode } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { type ClipboardSync, readPermission } from "./clipboard";

interface ClipboardPanelProps {
  clipboard: ClipboardSync;
  remoteText: string;
}

/** Text to and from the desktop by hand: works whatever the browser allows. */
export function ClipboardPanel({ clipboard, remoteText }: ClipboardPanelProps): VNode {
  const [text, setText] = useState(remoteText);
  const [status, setStatus] = useState("");
  const [permission, setPermission] = useState<PermissionState | "unsupported">("unsupported");
  const box = useRef<HTMLTextAreaElement>(null);

  useEffect(() => setText(remoteText), [remoteText]);
  useEffect(() => {
    box.current?.focus();
    void readPermission().then(setPermission);
  }, []);

  const share = async (): Promise<void> => {
    const allowed = await clipboard.read();
    setPermission(await readPermission());
    setStatus(allowed ? "Copied text now goes both ways by itself." : "The browser did not allow it.");
  };

  return (
    <div class="clipboard">
      <label class="field">
        <span>Text to and from the desktop</span>
        <textarea
          ref={box}
          rows={5}
          value={text}
          placeholder="What you copy in the desktop shows up here. To paste there, put text here and send it."
          data-testid="clipboard-text"
          onInput={(event) => setText(event.currentTarget.value)}
        />
      </label>
      <div class="actions">
        <button
          type="button"
          class="button button-primary"
          data-testid="clipboard-send"
          onClick={() => {
            clipboard.send(text);
            setStatus("Sent. Paste it in the desktop now.");
          }}
        >
          Send to desktop
        </button>
        <button
          type="button"
          class="button"
          onClick={() => {
            box.current?.select();
            navigator.clipboard.writeText(text).then(
              () => setStatus("Copied."),
              () => setStatus("Selected; copy it with Ctrl+C."),
            );
          }}
        >
          Copy
        </button>
      </div>
      {permission === "prompt" && (
        <button type="button" class="menu-item" onClick={() => void share()}>
          Share the clipboard automatically…
        </button>
      )}
      <p class="panel-note" role="status">
        {status}
      </p>
    </div>
  );
}
