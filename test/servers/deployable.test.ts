/** What is deployed: the app as `npm run build -- --package` puts it together, away from the repository. */
import { execFile } from "node:child_process";
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openApiDocument } from "../../src/api/openapi.ts";

const root = join(import.meta.dirname, "../..");
// Outside of the repository, so that no folder above it has packages.
const app = mkdtempSync(join(tmpdir(), "deployable-"));
const state = join(root, `.test/deployable-${process.pid}`);
const node = (args: readonly string[], cwd = root) =>
  promisify(execFile)(process.execPath, args, {
    cwd,
    env: { ...process.env, NO_COLOR: "1" },
    maxBuffer: 16_000_000,
  });

interface Lock {
  readonly packages: Readonly<Record<string, { readonly dev?: boolean; readonly optional?: boolean }>>;
}
const json = <Content>(file: string) => JSON.parse(readFileSync(file, "utf8")) as Content;

/** Loads the app's entry points as the worker does, and prints the address of every module that this takes. */
const listModules = `
import { globSync } from "node:fs";
import { registerHooks } from "node:module";
import { pathToFileURL } from "node:url";
const modules = [];
registerHooks({
  load(url, context, next) {
    modules.push(url);
    return next(url, context);
  },
});
const [, app, main] = process.argv;
for (const file of globSync(main, { cwd: app }).sort()) await import(pathToFileURL(app + "/" + file).href);
console.log(JSON.stringify(modules));
process.exit();
`;
/** Enough for the modules to load; nothing is asked. */
const settings = {
  Storage: "UseDevelopmentStorage=true",
  ServiceBus: "Endpoint=sb://127.0.0.1:1;SharedAccessKeyName=k;SharedAccessKey=eA==",
  AD_URL: "ldaps://127.0.0.1:1",
  AD_BIND_DN: "CN=a,DC=contoso,DC=local",
  AD_BIND_PASSWORD: "p",
  AD_BASE_DN: "DC=contoso,DC=local",
  GUEST_OU: "OU=Guests,DC=contoso,DC=local",
};

describe("the deployable app", () => {
  beforeAll(async () => {
    await node([join(root, "scripts/build.ts"), "--quiet", "--package", "--out", app]);
  });
  afterAll(() => {
    for (const folder of [app, state]) rmSync(folder, { recursive: true, force: true });
  });

  test("has what production needs, and nothing else", () => {
    expect(globSync("*", { cwd: app }).sort()).toEqual(
      [
        ...["LICENSE", "config", "dist", "host.json", "node_modules"],
        ...["package-lock.json", "package.json", "sbom.cdx.json"],
      ].sort(),
    );
    const { packages } = json<Lock>(join(root, "package-lock.json"));
    const installed = globSync(["node_modules/**/node_modules/*", "node_modules/*", "node_modules/**/@*/*"], {
      cwd: app,
    }).filter((folder) => packages[folder] !== undefined);
    expect(installed.length).toBeGreaterThan(20);
    expect(installed.filter((folder) => packages[folder]!.dev === true)).toEqual([]);
    const missing = Object.entries(packages).filter(
      ([folder, { dev, optional }]) => !dev && !optional && !existsSync(join(app, folder)),
    );
    expect(missing).toEqual([]);
    const manifest = json<Record<string, unknown>>(join(app, "package.json"));
    expect(manifest).toMatchObject({ main: "dist/src/functions/*.js", type: "module" });
    for (const name of ["devDependencies", "allowScripts", "scripts"])
      expect(Object.keys(manifest)).not.toContain(name);
  });

  test("has a bill of materials that names every package of it, and nothing else", () => {
    interface Bill {
      readonly bomFormat: string;
      readonly metadata: { readonly component: { readonly name: string; readonly "bom-ref": string } };
      readonly components: readonly Record<"bom-ref" | "name" | "version" | "purl", string>[];
      readonly dependencies: readonly { readonly ref: string; readonly dependsOn: readonly string[] }[];
    }
    const bill = json<Bill>(join(app, "sbom.cdx.json"));
    expect(bill).toMatchObject({ bomFormat: "CycloneDX", metadata: { component: { name: "vestibule" } } });
    const installed = globSync(
      [
        "node_modules/*/package.json",
        "node_modules/@*/*/package.json",
        "node_modules/**/node_modules/**/package.json",
      ],
      { cwd: app },
    ).flatMap((file) => {
      const { name, version } = json<{ name?: string; version?: string }>(join(app, file));
      const isPackage = file.endsWith(`node_modules/${name}/package.json`);
      return isPackage && version !== undefined ? [`${name}@${version}`] : [];
    });
    const named = bill.components.map(({ name, version }) => `${name}@${version}`);
    expect(new Set(named).size).toBe(named.length);
    expect(named.length).toBeGreaterThan(50);
    expect(named.filter((one) => !installed.includes(one))).toEqual([]);
    expect(installed.filter((one) => !named.includes(one))).toEqual([]);
    // Whoever asks "what brings this in?" can follow the graph from the app to every component.
    const graph = new Map(bill.dependencies.map(({ ref, dependsOn }) => [ref, dependsOn]));
    const reached = new Set([bill.metadata.component["bom-ref"]]);
    for (const ref of reached) for (const next of graph.get(ref) ?? []) reached.add(next);
    expect(bill.components.map(({ purl }) => purl).filter((purl) => !reached.has(purl))).toEqual([]);
    expect(bill.components.find(({ name }) => name === "@azure/functions")?.purl).toMatch(
      /^pkg:npm\/%40azure\/functions@\d/,
    );
  });

  test("loads from there alone, wherever the worker stands: no module of the sandbox, none from outside", async () => {
    const { main } = json<{ main: string }>(join(app, "package.json"));
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ["--input-type=module", "-e", listModules, app, main],
      { cwd: tmpdir(), env: { PATH: process.env.PATH, ...settings }, maxBuffer: 16_000_000 },
    );
    const modules = JSON.parse(stdout.split("\n").find((line) => line.startsWith("["))!) as string[];
    const own = pathToFileURL(app).href;
    const files = modules.filter((url) => !url.startsWith("node:"));
    expect(files.length).toBeGreaterThan(100);
    expect(
      files.filter(
        (url) =>
          url !== `${own}/package.json` &&
          !url.startsWith(`${own}/dist/src/`) &&
          !url.startsWith(`${own}/node_modules/`),
      ),
    ).toEqual([]);
  });

  test("does the main job, with every function that the repository has", async () => {
    const start = (folder: readonly string[], once: readonly string[]) =>
      node([
        ...[join(root, "sandbox/start.ts"), ...folder, "--state", state, "--port", "0", "--guests", "2"],
        ...once,
      ]);
    const { stdout } = await start(["--app", app], ["--once", "--fresh"]);
    expect(stdout).toContain("Verified by reading the directory: 2 of 2 guests have the right account");
    const { paths } = openApiDocument() as { readonly paths: Readonly<Record<string, object>> };
    const timers = readFileSync(join(root, "src/functions/timers.ts"), "utf8").match(/app\.timer\(/g) ?? [];
    // Work and dead letters of three queues.
    const count = Object.values(paths).flatMap(Object.keys).length + timers.length + 6;
    expect(stdout).toContain(`functions   ${count} functions`);
  });
});
