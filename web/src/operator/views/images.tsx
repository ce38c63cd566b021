import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { VNode } from "preact";
import { formatAge, formatBytes } from "../../model/format";
import { useSession } from "../../session";
import { ErrorNotice } from "../../ui/notice";
import { useListed } from "../../act";
import { Grid } from "../ui/grid";

const EVERY_MS = 10_000;

/** Which host can start which version of which image. */
export function ImagesPage(): VNode {
  const { broker } = useSession();
  const { listed, message } = useListed((signal) => broker.listImages({}, { signal }), EVERY_MS);
  const rows = listed?.images.flatMap(({ host, version }) => (version === undefined ? [] : [{ host, version }]));
  const now = Date.now();
  return (
    <>
      {message !== "" && <ErrorNotice>{message}</ErrorNotice>}
      <Grid
        name="images"
        rows={rows}
        rowKey={({ host, version }) => `${version.image}@${version.version} ${host}`}
        empty="No host has an image yet."
        columns={[
          { title: "Image", value: ({ version }) => version.image },
          { title: "Version", value: ({ version }) => version.version },
          { title: "Tags", value: ({ version }) => version.tags.join(" ") },
          { title: "Host", value: ({ host }) => host },
          { title: "Size", value: ({ version }) => Number(version.sizeBytes), show: ({ version }) => formatBytes(version.sizeBytes) },
          {
            title: "Published",
            value: ({ version }) => (version.publishedAt === undefined ? 0 : timestampMs(version.publishedAt)),
            show: ({ version }) => (version.publishedAt === undefined ? "" : formatAge(timestampMs(version.publishedAt), now)),
          },
          { title: "Description", value: ({ version }) => version.description },
        ]}
      />
    </>
  );
}
