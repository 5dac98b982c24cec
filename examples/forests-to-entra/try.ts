/**
 * `npm run forests`: two forests, a Graph tenant and Vestibule with this configuration on one machine. Runs the initial
 * cycle, shows what is in the tenant, and goes on until Ctrl-C; with `--once` it ends then.
 */
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { Api } from "../../cli/api.ts";
import { followRun } from "../../cli/followRun.ts";
import { describeRun } from "../../cli/print.ts";
import { Platform, type PlatformFile } from "../../sandbox/platform.ts";
import { configDirectory, ForestAdministrator, forestSettings, populate, startForest } from "./forests.ts";

const { values: options } = parseArgs({
  options: {
    once: { type: "boolean", default: false },
    state: { type: "string", default: ".vestibule-forests" },
  },
});
const state = resolve(options.state);
const isNew = !existsSync(state);
const stopRequested = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => stopRequested.abort());

console.log("Starting two domain controllers …");
const [accounts, resources] = await Promise.all(
  ["accounts", "resources"].map((name) => startForest(name, join(state, "forests"))),
);
try {
  process.exitCode = await run();
} finally {
  await Promise.all([accounts!.stop(), resources!.stop()]);
}
process.exit();

async function run(): Promise<number> {
  if (isNew) {
    const administrators = await Promise.all([accounts!, resources!].map(ForestAdministrator.logOn));
    await populate(administrators[0]!, administrators[1]!);
    for (const administrator of administrators) await administrator.logOff();
  }
  const platform = await Platform.start({
    appDirectory: resolve(configDirectory, "../.."),
    stateDirectory: join(state, "platform"),
    fresh: false,
    hosts: 1,
    directory: "sandbox",
    guests: 0,
    members: 3,
    settings: { ...forestSettings(accounts!, resources!), CONFIG_DIR: configDirectory },
    say: (line) => console.log(line),
  });
  try {
    const api = new Api({ url: platform.api, trigger: "start" });
    const { id } = await api.startCycle(isNew ? "initial" : "delta");
    const ended = await followRun(api, id, {
      out: process.stdout,
      isTerminal: process.stdout.isTTY === true,
      signal: stopRequested.signal,
    });
    console.log(`\n${describeRun(ended)}\n\nIn the tenant:`);
    for (const line of await tenant()) console.log(`  ${line}`);
    console.log(
      `\nAPI ${platform.api}. Change people and groups at ${accounts!.url} or ${resources!.url}, then:`,
    );
    console.log(
      `  curl -X POST ${platform.api}/runs -H 'content-type: application/json' -d '{"cycle":"delta"}'`,
    );
    if (options.once) return ended.status === "success" ? 0 : 1;
    console.log("Ctrl-C stops.");
    await new Promise<void>((done) =>
      stopRequested.signal.addEventListener("abort", () => done(), { once: true }),
    );
    return 0;
  } finally {
    await platform.stop();
  }
}

interface Described {
  readonly id: string;
  readonly displayName: string;
  readonly [name: string]: unknown;
}

/** What the sandbox tenant's own administrator sees: people and groups that this configuration has made. */
async function tenant(): Promise<string[]> {
  const file = JSON.parse(readFileSync(join(state, "platform", "platform.json"), "utf8")) as PlatformFile;
  const get = async (path: string) => (await fetch(`${file.graph.admin}/admin/${path}`)).json();
  const { users } = (await get("users?userType=Member&state=active")) as { users: readonly Described[] };
  const { groups } = (await get("groups")) as {
    groups: readonly (Described & { members: readonly string[] })[];
  };
  const names = new Map([...users, ...groups].map(({ id, displayName }) => [id, displayName]));
  const made = users.filter(({ onPremisesImmutableId }) => typeof onPremisesImmutableId === "string");
  return [
    ...made.map(({ displayName, userPrincipalName, accountEnabled, manager }) => {
      const boss = typeof manager === "string" ? `, manager ${names.get(manager)}` : "";
      return `user   ${displayName}: ${userPrincipalName}, ${accountEnabled === true ? "enabled" : "disabled"}${boss}`;
    }),
    ...groups.map(({ displayName, members }) => {
      const list = members.map((id) => names.get(id)).join(", ");
      return `group  ${displayName}: ${list === "" ? "nobody" : list}`;
    }),
  ];
}
