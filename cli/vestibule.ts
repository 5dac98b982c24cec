/**
 * `npm run vestibule -- <command>`: runs and questions to any deployment, over its HTTP API; and `rules import`, which
 * needs none. Exit code 0 when the command, and with --wait the run, went well; otherwise 1.
 */
import { Command, Option } from "commander";
import { Api, ApiError, type Page, type Run, UnreachableError } from "./api.ts";
import {
  type Connector,
  type ConnectorSpaceItem,
  type ConnectorSpaceObject,
  describeConnector,
  describeConnectors,
  describeMetaverse,
  describeMetaverseObject,
  describeObject,
  describeObjects,
  type MetaverseItem,
  type MetaverseObject,
} from "./describe.ts";
import { addExportPlan, wholeNumber } from "./exportPlan.ts";
import { followRun } from "./followRun.ts";
import { addInsight } from "./insight.ts";
import {
  colorStatus,
  describeRun,
  duration,
  facts,
  instant,
  printableAll,
  textTable,
  wentWell,
} from "./print.ts";
import { addRulesImport, ImportError } from "./rulesImport.ts";
import { addRuleVersions } from "./ruleVersions.ts";

interface CommonOptions {
  readonly url: string;
  readonly key?: string;
  readonly token?: string;
  readonly json?: boolean;
}
interface WaitOption {
  readonly wait?: boolean | undefined;
}
interface ListOptions {
  readonly limit?: string;
  readonly continuation?: string;
}

const program = new Command("vestibule")
  .description("Runs and inspects a Vestibule deployment over its HTTP API.")
  .addOption(
    new Option("--url <url>", "address of the API").env("VESTIBULE_URL").default("http://127.0.0.1:7071/api"),
  )
  .addOption(new Option("--key <key>", "function key of the deployment").env("VESTIBULE_KEY"))
  .addOption(
    new Option("--token <token>", "Entra ID token for the API, where people sign in").env("VESTIBULE_TOKEN"),
  )
  .option("--json", "print the API's answer as it is")
  .showHelpAfterError("(--help shows how it is used)");

const common = () => program.opts<CommonOptions>();
const openApi = () =>
  new Api({ url: common().url, key: common().key, token: common().token, trigger: "cli" });
const part = encodeURIComponent;

/** Prints an answer: as JSON where asked for, otherwise as `describe` says. */
function show<Answer>(answer: Answer, describe: (answer: Answer) => string): void {
  console.log(common().json ? JSON.stringify(answer, null, 2) : describe(printableAll(answer)));
}

function showPage<Item extends object>(page: Page<Item>, describe: (items: readonly Item[]) => string): void {
  show(page, ({ items, continuation }) =>
    continuation === undefined
      ? describe(items)
      : `${describe(items)}\nThere are more: --continuation '${continuation}'`,
  );
}

async function begin(api: Api, what: object, options: WaitOption): Promise<void> {
  await follow(api, await api.post<Run>("/runs", what), options);
}

async function follow(api: Api, started: Run, { wait }: WaitOption): Promise<void> {
  if (!wait) {
    show(started, (run) => `Started run ${run.id}. \`run show ${run.id}\` tells how it goes.`);
    return;
  }
  if (!common().json) console.log(`Run ${started.id}`);
  const ended = await followRun(api, started.id, {
    // With --json, standard output holds the answer and nothing else.
    out: common().json ? process.stderr : process.stdout,
    isTerminal: (common().json ? process.stderr : process.stdout).isTTY === true,
  });
  show(ended, describeRun);
  if (!wentWell(ended.status)) process.exitCode = 1;
}

function withPaging(command: Command): Command {
  return command
    .option("--limit <number>", "at most so many", "50")
    .option("--continuation <token>", "go on where an earlier list ended");
}

const run = program
  .command("run")
  .description('start a run profile, for example: run AADMA "Full Import (Stage Only)"')
  .argument("<connector>")
  .argument("<profile>")
  .option("--wait", "follow the run to its end")
  .action((connector: string, profile: string, options: WaitOption) =>
    begin(openApi(), { connector, profile }, options),
  );
run
  .command("show <id>")
  .description("one run with its steps, counters and errors")
  .action(async (id: string) => show(await openApi().run(id), describeRun));
run
  .command("accept <id>")
  .description("accept a full import that was refused because it had shrunk")
  .requiredOption("--why <words>", "kept in the audit")
  .action(async (id: string, { why }: { why: string }) =>
    show(
      await openApi().post<Run>(`/runs/${part(id)}/accept`, { why }),
      () => "Accepted: the next full import that shows as many objects is taken as complete.",
    ),
  );

program
  .command("cycle <name>")
  .description("start a cycle: initial or delta")
  .option("--wait", "follow the run to its end")
  .action((cycle: string, options: WaitOption) => begin(openApi(), { cycle }, options));

withPaging(program.command("runs"))
  .description("runs, newest first")
  .option("--connector <name>", "only runs with a step of this connector")
  .option("--status <status>", "only runs with this status")
  .action(async (options: ListOptions & { connector?: string; status?: string }) =>
    showPage(await openApi().get<Page<Run>>("/runs", { ...options }), (runs) =>
      runs.length === 0
        ? "No runs."
        : textTable(
            ["Run", "What", "Status", "Started", "Duration", "Trigger"],
            runs.map((one) => [
              one.id,
              one.cycle
                ? `${one.cycle} cycle`
                : one.steps.map((s) => `${s.connector} ${s.profile}`).join(", "),
              colorStatus(one.status),
              instant(one.startedAt),
              duration(one.startedAt, one.endedAt),
              one.trigger,
            ]),
          ),
    ),
  );

program
  .command("stop <id>")
  .description("stop a run at its next checkpoint")
  .action(async (id: string) =>
    show(
      await openApi().post<Run>(`/runs/${part(id)}/stop`),
      () => `Run ${id} stops at its next checkpoint.`,
    ),
  );

program
  .command("connectors")
  .description("connectors with their counts, pending changes and last runs")
  .argument("[name]", "only this one, in full")
  .action(async (name: string | undefined) => {
    if (name !== undefined)
      show(await openApi().get<Connector>(`/connectors/${part(name)}`), describeConnector);
    else showPage(await openApi().get<Page<Connector>>("/connectors"), describeConnectors);
  });

withPaging(program.command("objects <connector>"))
  .description("search a connector space")
  .option(
    "--pending-import <kind>",
    "with a pending import: add, update, rename, delete, deleteAdd, any, none",
  )
  .option("--pending-export <kind>", "with a pending export: add, update, rename, delete, any, none")
  .option("--state <state>", "connector or disconnector, or a kind such as filteredDisconnector")
  .option("--dn <dn>", "with this DN")
  .option("--anchor <anchor>", "with this anchor")
  .action(async (connector: string, filters: ListOptions & Record<string, string>) =>
    showPage(
      await openApi().get<Page<ConnectorSpaceItem>>(`/connectors/${part(connector)}/objects`, { ...filters }),
      describeObjects,
    ),
  );

program
  .command("object <connector> <anchor>")
  .description("one connector space object: its images, pending changes, link and errors")
  .action(async (connector: string, anchor: string) =>
    show(
      await openApi().get<ConnectorSpaceObject>(`/connectors/${part(connector)}/objects/${part(anchor)}`),
      describeObject,
    ),
  );

/** Begins what is done to one object by hand; the answer is its run. */
async function byHand(
  verb: string,
  connector: string,
  anchor: string,
  given: object,
  options: WaitOption,
): Promise<void> {
  const api = openApi();
  const path = `/connectors/${part(connector)}/objects/${part(anchor)}/${verb}`;
  await follow(api, await api.post<Run>(path, given), options);
}
function byHandCommand(command: Command): Command {
  return command.option("--why <words>", "kept in the audit").option("--wait", "follow the run to its end");
}
type ByHandOptions = WaitOption & { readonly why?: string };

byHandCommand(program.command("join <connector> <anchor> <metaverse-id>"))
  .description("join an object to a metaverse object by hand; disconnect undoes it")
  .action((connector: string, anchor: string, metaverseId: string, { wait, ...given }: ByHandOptions) =>
    byHand("join", connector, anchor, { metaverseId, ...given }, { wait }),
  );
byHandCommand(program.command("disconnect <connector> <anchor>"))
  .description("disconnect an object by hand, so that no rule joins it again; nothing is deleted")
  .option("--normal", "let the rules decide anew, which also undoes an earlier disconnect")
  .action(
    (
      connector: string,
      anchor: string,
      { wait, normal, ...given }: ByHandOptions & { readonly normal?: boolean },
    ) => byHand("disconnect", connector, anchor, { as: normal ? "normal" : "explicit", ...given }, { wait }),
  );
program
  .command("empty <connector>")
  .description("empty its connector space until the next full import; its directory is not written to")
  .requiredOption("--confirm <connector>", "the connector's name once more")
  .option("--why <words>", "kept in the audit")
  .action(async (connector: string, given: { readonly confirm: string; readonly why?: string }) => {
    const path = `/connectors/${part(connector)}/space`;
    show(
      await openApi().delete<{ readonly connector: string; readonly removed: number }>(path, given),
      (done) => `${done.connector}: ${done.removed} objects are forgotten until its next full import.`,
    );
  });
byHandCommand(program.command("synchronize <connector> <anchor>"))
  .description("synchronise one object")
  .action((connector: string, anchor: string, { wait, ...given }: ByHandOptions) =>
    byHand("synchronize", connector, anchor, given, { wait }),
  );
byHandCommand(program.command("retry <connector> <anchor>"))
  .description("synchronise one object and forget how often it has failed")
  .action((connector: string, anchor: string, { wait, ...given }: ByHandOptions) =>
    byHand("retry", connector, anchor, given, { wait }),
  );

const metaverse = program.command("metaverse").description("search the metaverse");
withPaging(metaverse.command("search <clause...>"))
  .description('objects for which every clause holds, for example: "accountName isPresent"')
  .option("--attributes <names>", "the attributes to show, with commas between them")
  .action(async (where: string[], { attributes, ...options }: ListOptions & { attributes?: string }) =>
    showPage(await openApi().get<Page<MetaverseItem>>("/metaverse", { where, ...options }), (items) =>
      describeMetaverse(items, where, attributes?.split(",")),
    ),
  );
metaverse
  .command("show <id>")
  .description("one metaverse object: its values, where they come from, its connectors")
  .action(async (id: string) =>
    show(await openApi().get<MetaverseObject>(`/metaverse/${part(id)}`), describeMetaverseObject),
  );

interface Schedule {
  readonly suspended: boolean;
  readonly changedAt: string | null;
  readonly changedBy: string | null;
  readonly cycleSchedule: string;
  readonly stagingMode: boolean;
  readonly cycleInProgress: string | null;
  readonly nextCycle: string;
}
function describeSchedule(schedule: Schedule): string {
  const { suspended, changedAt, changedBy } = schedule;
  const since =
    changedAt === null ? "" : ` since ${instant(changedAt)}${changedBy === null ? "" : `, by ${changedBy}`}`;
  return facts([
    ["Scheduler", (suspended ? "suspended" : "active") + since],
    ["Cycles start at", `${schedule.cycleSchedule} (NCRONTAB, UTC)`],
    ["Next cycle", schedule.nextCycle],
    ["Cycle in progress", schedule.cycleInProgress ?? "none"],
    ["Staging mode", schedule.stagingMode ? "on: nothing is exported" : "off"],
  ]);
}
program
  .command("schedule")
  .description("the schedule of cycles; suspend or resume it")
  .argument("[change]", "suspend or resume")
  .action(async (change: string | undefined) => {
    if (change !== undefined && change !== "suspend" && change !== "resume") {
      program.error(`"${change}" is no change to the schedule: suspend or resume.`);
    }
    const answer = change
      ? await openApi().put<Schedule>("/schedule", { suspended: change === "suspend" })
      : await openApi().get<Schedule>("/schedule");
    show(answer, describeSchedule);
  });

interface Health {
  readonly status: string;
  readonly checks: readonly { name: string; status: string; message?: string }[];
}
program
  .command("health")
  .description("whether tables, queues, Graph and AD answer; exit code 0 only when all do")
  .action(async () => {
    const health = await openApi().get<Health>("/health");
    show(
      health,
      ({ status, checks }) =>
        `${status}\n${textTable(
          ["What", "Status", ""],
          checks.map(({ name, status: one, message = "" }) => [name, one, message]),
        )}`,
    );
    if (health.status !== "healthy") process.exitCode = 1;
  });

program
  .command("doctor")
  .description(
    "look at everything from this machine, with its settings: tables, queues, permissions, certificates, rights",
  )
  .option("--config <folder>", "the configuration (default: CONFIG_DIR)")
  .option("--only <parts...>", "only these: names of connectors, settings, tables, queues")
  .option("--timeout <seconds>", "how long one answer may take", wholeNumber, 60)
  .action(async (options: { config?: string; only?: string[]; timeout: number }) => {
    const { examine } = await import("./doctor.ts");
    const { json = false } = common();
    process.exitCode = await examine({ ...options, json });
  });

addExportPlan(program, { openApi, show, follow });
addRulesImport(program);
addInsight(program, { openApi, show, showPage, withPaging });
addRuleVersions(program, { openApi, show, showPage, withPaging });

try {
  await program.parseAsync();
} catch (error) {
  const isTold =
    error instanceof ApiError || error instanceof UnreachableError || error instanceof ImportError;
  if (!isTold) throw error;
  const isJson = common().json && error instanceof ApiError;
  console.error(isJson ? JSON.stringify(error.problem) : printableAll(error.message));
  process.exitCode = 1;
}
