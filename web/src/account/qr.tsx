import type { VNode } from "preact";
import { useMemo } from "preact/hooks";
import { squares } from "./qr-path";

/** A QR code, made on this page: its secret goes nowhere. */
export function QrCode({ text, label }: { text: string; label: string }): VNode {
  const { size, path } = useMemo(() => squares(text), [text]);
  return (
    <svg class="qr" viewBox={`0 0 ${size} ${size}`} role="img" aria-label={label} shape-rendering="crispEdges" data-testid="qr">
      <path d={path} />
    </svg>
  );
}
