/**
 * `npm start [-- options]`: the local platform, its first cycle, and what a person sees of both.
 *
 * Exit codes: 0 after Ctrl-C or, with --once, when every guest has the account that it should have; 2 when an option
 * or a setting is wrong; 1 otherwise.
 */
import { readFileSync } from "node:fs";
import { isAbsolute, join, relative, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Command, InvalidArgumentError, Option } from "commander";
import colors from "picocolors";
import { Api, ApiError, type Page, type Run, UnreachableError } from "../cli/api.ts";
import { type FollowOptions, followRun } from "../cli/followRun.ts";
import { describeRun } from "../cli/print.ts";
import { AppStartError } from "./host/settings.ts";
import { Platform, PlatformError } from "./platform.ts";
import { StateInUseError } from "./stateFolder.ts";
import { type Verification, verifyAccounts } from "./verify.ts";

interface Options {
  readonly once?: boolean;
  readonly port?: number;
  readonly guests?: number;
  readonly members?: number;
  readonly seed?: number;
  readonly state: string;
  readonly app: string;
  readonly fresh?: boolean;
  readonly directory: "sandbox" | "samba";
  readonly hosts: number;
  readonly schedule?: string;
  readonly graph?: string;
  readonly graphCa?: string;
  readonly graphTokenFile?: string;
  readonly ad?: string;
  readonly adBindDn?: string;
  readonly adBindPasswordFile?: string;
  readonly adCa?: string;
  readonly adServerName?: string;
  readonly adBaseDn?: string;
  readonly guestOu?: string;
}

const root = join(import.meta.dirname, "..");
const problemsShownMax = 20;
/** How long a host that was lost may take to come back. */
const hostPatienceMs = 60_000;

const options = new Command("npm start --")
  .description(
    "Runs Vestibule on this machine, with stand-ins for Azure, Microsoft Graph and Active Directory.",
  )
  .option("--once", "end after the first cycle; exit code 0 only if every guest has its account")
  .option("--port <port>", "port of the API (default: 7071 or the next free one)", wholeNumber(0, 65_535))
  .option("--guests <number>", "guests of a new Graph sandbox tenant (default: 40)", wholeNumber(0, 200_000))
  .option("--members <number>", "members of that tenant (default: 20)", wholeNumber(0, 200_000))
  .option("--seed <number>", "another tenant for every number", wholeNumber(0, 2 ** 31 - 1))
  .option("--state <folder>", "where the state is kept", ".vestibule")
  .option("--app <folder>", "the built function app, such as dist/app", root)
  .option("--fresh", "begin with an empty state")
  .addOption(
    new Option("--directory <kind>", "the directory that is started")
      .choices(["sandbox", "samba"])
      .default("sandbox"),
  )
  .option("--hosts <number>", "function hosts that share the work", wholeNumber(1, 16), 1)
  .option("--schedule <ncrontab>", 'when cycles start (default: "0 */30 * * * *")')
  .option("--graph <url>", "use this Graph endpoint")
  .option("--graph-ca <file>", "certificate authority to trust for it (PEM)")
  .option("--graph-token-file <file>", "access token for it")
  .option("--ad <url>", "use this directory: ldaps://host:port")
  .option("--ad-bind-dn <dn>", "account to bind as")
  .option("--ad-bind-password-file <file>", "its password")
  .option("--ad-ca <file>", "certificate authority to trust for it (PEM)")
  .option("--ad-server-name <name>", "name in its certificate, when the URL has another")
  .option("--ad-base-dn <dn>", "its domain")
  .option("--guest-ou <dn>", "the OU of the guests' accounts")
  .configureOutput({ outputError: (text, write) => write(text) })
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2))
  .parse()
  .opts<Options>();

const stopRequested = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => stopRequested.abort());
const stopped = new Promise<"stopped">((done) => {
  stopRequested.signal.addEventListener("abort", () => done("stopped"));
});

try {
  process.exitCode = await main();
} catch (error) {
  const expected =
    error instanceof PlatformError || error instanceof StateInUseError || error instanceof AppStartError;
  console.error(colors.red(expected ? error.message : ((error as Error).stack ?? String(error))));
  process.exitCode = error instanceof PlatformError ? error.exitCode : error instanceof AppStartError ? 2 : 1;
}
// What a stopped platform leaves open (an idle connection to its API) is no reason to stay.
process.exit();

async function main(): Promise<number> {
  console.log(colors.bold("Vestibule"));
  const starting = Platform.start({
    appDirectory: resolve(options.app),
    stateDirectory: resolve(options.state),
    fresh: options.fresh === true,
    port: options.port,
    hosts: options.hosts,
    directory: options.directory,
    guests: options.guests,
    members: options.members,
    seed: options.seed,
    settings: settingsOf(options),
    say: (line) => console.log(colors.dim(line)),
  });
  const platform = await Promise.race([starting, stopped]);
  if (platform === "stopped") {
    await starting.then((started) => started.stop());
    return 0;
  }
  try {
    console.log(`API ${platform.api}`);
    const outcome = await Promise.race([use(platform), stopped, platform.failed]);
    if (outcome instanceof PlatformError) throw outcome;
    return outcome === "stopped" ? 0 : outcome;
  } finally {
    await platform.stop();
  }
}

/** The first cycle, then either the proof that it worked or a platform that goes on until it is stopped. */
async function use(platform: Platform): Promise<number> {
  const api = new Api({ url: platform.api, trigger: "start" });
  const run = await firstRun(api);
  if (run !== undefined) console.log(`\n${describeRun(run)}\n`);
  if (options.once) return verify(platform, run);
  console.log(hints(platform));
  return new Promise(() => {});
}

/**
 * An interrupted run is followed to its end. Then an empty state begins with an initial cycle; any other begins, with
 * --once, a delta cycle, and otherwise waits for its schedule.
 */
async function firstRun(api: Api): Promise<Run | undefined> {
  const newest = await newestRun(api);
  if (newest === undefined) return startAndFollow(api, "initial", newest);
  if (newest.endedAt) return options.once ? startAndFollow(api, "delta", newest) : undefined;
  console.log(`Going on with run ${newest.id}`);
  const ended = await follow(api, newest.id);
  return options.once && !stopRequested.signal.aborted ? startAndFollow(api, "delta", ended) : ended;
}

async function newestRun(api: Api): Promise<Run | undefined> {
  for (const lastTry = Date.now() + hostPatienceMs; ; await sleep(500)) {
    try {
      return (await api.get<Page<Run>>("/runs", { limit: "1" })).items[0];
    } catch (error) {
      if (!(error instanceof UnreachableError) || Date.now() > lastTry) throw error;
    }
  }
}

/** @param before the newest run that was not started here */
async function startAndFollow(api: Api, cycle: "initial" | "delta", before: Run | undefined): Promise<Run> {
  for (;;) {
    try {
      const { id } = await api.startCycle(cycle);
      console.log(`${cycle === "initial" ? "Initial" : "Delta"} cycle, run ${id}`);
      return await follow(api, id);
    } catch (error) {
      if (error instanceof UnreachableError) {
        // The host died before it answered. Whether it had made the run, the one that follows it knows.
        const newest = await newestRun(api);
        if (newest?.trigger === "start" && newest.id !== before?.id) return follow(api, newest.id);
        continue;
      }
      const inTheWay = error instanceof ApiError ? error.problem.runId : undefined;
      if (inTheWay === undefined) throw error;
      // The schedule was faster.
      await follow(api, inTheWay);
    }
  }
}

function follow(api: Api, runId: string): Promise<Run> {
  const how: FollowOptions = {
    out: process.stdout,
    isTerminal: process.stdout.isTTY === true,
    signal: stopRequested.signal,
  };
  return followRun(api, runId, how);
}

async function verify(platform: Platform, run: Run | undefined): Promise<number> {
  const notDone = (what: string) => {
    console.log(colors.red(what));
    console.log(`What each process said is in ${shortPath(join(resolve(options.state), "logs"))}.`);
    return 1;
  };
  // The step has said why; peers that it could not read cannot be read for a proof either.
  if (run === undefined || /^(stopped|no-start)/.test(run.status)) {
    return notDone(`Nothing to verify: the run ended ${run?.status}.`);
  }
  let found: Verification;
  try {
    found = await verifyAccounts(platform.settings);
  } catch (error) {
    return notDone(`The accounts cannot be verified: ${(error as Error).message}`);
  }
  const { guests, right, problems } = found;
  for (const problem of problems.slice(0, problemsShownMax)) console.log(colors.red(problem));
  if (problems.length > problemsShownMax) console.log(`… and ${problems.length - problemsShownMax} more.`);
  const all = `${right} of ${guests} guests have the right account in ${platform.settings.GUEST_OU}`;
  if (right < guests) return notDone(`Not as it should be: ${all}.`);
  console.log(colors.green(`Verified by reading the directory: ${all}.`));
  return 0;
}

function hints(platform: Platform): string {
  const { api, settings } = platform;
  return [
    `API ${api}    cycles start at ${settings.CYCLE_SCHEDULE}    logs in ${shortPath(join(resolve(options.state), "logs"))}`,
    "Try:",
    `  curl '${api}/metaverse?where=accountName%20isPresent&limit=3'`,
    `  curl ${api}/connectors`,
    `  curl -X POST ${api}/runs -H 'content-type: application/json' -d '{"cycle":"delta"}'`,
    "Ctrl-C stops; the next npm start goes on from here.",
  ].join("\n");
}

/** The app settings that options stand for. Secrets are read from files, so that no process list shows them. */
function settingsOf(given: Options): Record<string, string> {
  const values: Record<string, string | undefined> = {
    CYCLE_SCHEDULE: given.schedule,
    GRAPH_BASE_URL: given.graph,
    GRAPH_CA_CERTIFICATE: path(given.graphCa),
    GRAPH_ACCESS_TOKEN: content("--graph-token-file", given.graphTokenFile),
    AD_URL: given.ad,
    AD_BIND_DN: given.adBindDn,
    AD_BIND_PASSWORD: content("--ad-bind-password-file", given.adBindPasswordFile),
    AD_CA_CERTIFICATE: path(given.adCa),
    AD_SERVER_NAME: given.adServerName,
    AD_BASE_DN: given.adBaseDn,
    GUEST_OU: given.guestOu,
  };
  return Object.fromEntries(
    Object.entries(values).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}

function path(file: string | undefined): string | undefined {
  return file === undefined ? undefined : resolve(file);
}

function content(option: string, file: string | undefined): string | undefined {
  if (file === undefined) return undefined;
  try {
    return readFileSync(file, "utf8").trim();
  } catch (error) {
    throw new PlatformError(`${option}: ${(error as Error).message}`, 2);
  }
}

function shortPath(file: string): string {
  const fromHere = relative(process.cwd(), file);
  return isAbsolute(fromHere) || fromHere.startsWith("..") ? file : fromHere;
}

function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= min && value <= max) return value;
    throw new InvalidArgumentError(`It must be a whole number from ${min} to ${max}.`);
  };
}
