// Runs src/**/*.test.ts with Node's own test runner. The tests are TypeScript
// and import generated code, so they are bundled first.
import { spawnSync } from "node:child_process";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = fileURLToPath(new URL("..", import.meta.url));

/** All test files under a folder, so that none is forgotten in a list. */
async function testsIn(folder) {
  const entries = await readdir(folder, { withFileTypes: true });
  const found = await Promise.all(
    entries.map((entry) => {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) return testsIn(path);
      return entry.name.endsWith(".test.ts") ? [path] : [];
    }),
  );
  return found.flat().sort();
}

const out = await mkdtemp(join(tmpdir(), "rolltop-web-test-"));
try {
  await build({
    entryPoints: await testsIn(join(root, "src")),
    outdir: out,
    outbase: join(root, "src"),
    outExtension: { ".js": ".mjs" },
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node18",
    sourcemap: "inline",
    logLevel: "warning",
  });
  const files = (await readdir(out, { recursive: true }))
    .filter((name) => name.endsWith(".test.mjs"))
    .map((name) => join(out, name));
  const run = spawnSync(process.execPath, ["--enable-source-maps", "--test", "--test-reporter=spec", ...files], {
    stdio: "inherit",
  });
  process.exitCode = run.status ?? 1;
} finally {
  await rm(out, { recursive: true, force: true });
}
