import { link, mkdir, readFile, readlink, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";

const DEMO = "demo/tags/stable";

/**
 * Puts an image beside `demo` in the store: the same root, another session.
 * Takes a moment instead of the minute that building one takes.
 */
export async function addImage(store, name, sessionCommand) {
  const target = await readlink(join(store, DEMO));
  await addVersion(store, name, target.split("/").at(-1), sessionCommand);
  await mkdir(join(store, name, "tags"));
  await symlink(target, join(store, name, "tags/stable"));
}

/** The same as one version of an image, which no tag points at yet. */
export async function addVersion(store, name, version, sessionCommand) {
  const from = join(store, DEMO);
  const to = join(store, name, "versions", version);
  await mkdir(to, { recursive: true });
  await link(join(from, "root.erofs"), join(to, "root.erofs"));
  const manifest = await readFile(join(from, "manifest.toml"), "utf8");
  await writeFile(
    join(to, "manifest.toml"),
    manifest
      .replace('name = "demo"', `name = "${name}"`)
      .replace(/^command = .*$/m, `command = ${JSON.stringify(sessionCommand)}`),
  );
}

export async function removeImage(store, name) {
  await rm(join(store, name), { recursive: true, force: true });
}
