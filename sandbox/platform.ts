/**
 * The local platform: Azurite, the broker, a Graph tenant, a directory and the function hosts, each a process of its
 * own under this one. What the settings name instead (another Graph, a directory, a real namespace) is not started.
 *
 *   STATE/processes.json   {name: process id}, the supervisor's included
 *   STATE/platform.json    where everything is, for scripts and tests (PlatformFile)
 *   STATE/logs/NAME.log    what each process says
 */
import { mkdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Child, type ChildEnd, ChildStartError, startChild } from "./child.ts";
import type { DirectoryReady } from "./directory/process.ts";
import { isFree } from "./freePort.ts";
import { localSettings } from "./host/settings.ts";
import { StateFolder } from "./stateFolder.ts";

export interface PlatformOptions {
  /** The built function app. */
  readonly appDirectory: string;
  readonly stateDirectory: string;
  /** Begins with an empty state. */
  readonly fresh: boolean;
  /** Of the API; without it 7071 or the next free one. */
  readonly port?: number | undefined;
  readonly hosts: number;
  readonly directory: "sandbox" | "samba";
  /** Of a tenant that is made; one that is there must have as many, where a number is given. Default 40. */
  readonly guests?: number | undefined;
  readonly members?: number | undefined;
  readonly seed?: number | undefined;
  /** How long a received message is locked; a killed host's messages come again after that. Default 30 s. */
  readonly lockDurationMs?: number;
  /** App settings that win over the environment and local.settings.json. */
  readonly settings: Readonly<Record<string, string>>;
  /** Gets a line for everything that is started, or happens later. */
  readonly say: (line: string) => void;
}

/** What platform.json holds. The Graph token and the bind password stay in files of their own. */
export interface PlatformFile {
  readonly api: string;
  readonly graph: {
    readonly url: string;
    readonly ca?: string;
    readonly tokenFile?: string;
    readonly admin?: string;
  };
  readonly ad: {
    readonly url: string;
    readonly ca?: string;
    readonly serverName?: string;
    readonly baseDn?: string;
    readonly guestOu?: string;
    readonly bindDn?: string;
    readonly bindPasswordFile?: string;
  };
}

/** The platform cannot start, or cannot go on; `exitCode` is 2 when a setting or an option is wrong. */
export class PlatformError extends Error {
  override readonly name = "PlatformError";
  readonly exitCode: 1 | 2;
  constructor(message: string, exitCode: 1 | 2) {
    super(message);
    this.exitCode = exitCode;
  }
}

interface HostReady {
  readonly port: number;
  readonly functions: readonly string[];
}

const defaultPort = 7071;
const defaultSchedule = "0 */30 * * * *";
/** As a deployment sets them. */
const { workerArguments } = JSON.parse(
  readFileSync(join(import.meta.dirname, "../infra/names.json"), "utf8"),
) as { readonly workerArguments: string };
/** Message locks and redelivery as in the namespace that infra/ makes. */
const queue = { lockDurationMs: 30_000, maxDeliveryCount: 10, duplicateDetectionWindowMs: 600_000 };
const queueNames = ["import-steps", "sync-steps", "export-steps"];

const stopMaxMs = 15_000;
const restartDelayMs = 1_000;
const failedRestartsMax = 5;

export class Platform {
  /** `http://127.0.0.1:PORT/api` */
  readonly api: string;
  /** The app settings that the hosts got. */
  readonly settings: Readonly<Record<string, string>>;
  /** Settles when the platform cannot go on; it is to be stopped then. */
  readonly failed: Promise<PlatformError>;
  readonly #processes: Processes;

  private constructor(api: string, settings: Readonly<Record<string, string>>, processes: Processes) {
    this.api = api;
    this.settings = settings;
    this.failed = processes.failed;
    this.#processes = processes;
  }

  /**
   * Starts everything and waits until it serves. What was started is stopped again when the rest cannot be.
   * @throws PlatformError, StateInUseError
   */
  static async start(options: PlatformOptions): Promise<Platform> {
    if (options.port !== undefined && options.port !== 0 && !(await isFree(options.port))) {
      throw new PlatformError(
        `Port ${options.port} is in use. Another one: --port N (0 takes a free one).`,
        2,
      );
    }
    const state = await StateFolder.take(options.stateDirectory);
    const processes = new Processes(state, options.say);
    try {
      if (options.fresh) state.clear();
      mkdirSync(state.file("logs"), { recursive: true });
      return await Platform.#start(options, state, processes);
    } catch (error) {
      await processes.stop();
      if (error instanceof ChildStartError) {
        const reason = error.end.lastLines.join("\n").trim();
        throw new PlatformError(reason === "" ? error.message : reason, error.end.code === 2 ? 2 : 1);
      }
      throw error;
    }
  }

  static async #start(options: PlatformOptions, state: StateFolder, processes: Processes): Promise<Platform> {
    const given = givenSettings(options);
    const [storage, bus, graph, directory] = await Promise.all([
      startTables(given, state, processes),
      startQueues(given, state, processes, options),
      startGraph(given, state, processes, options),
      startDirectory(given, state, processes, options),
    ]);
    const settings: Record<string, string> = {
      CYCLE_SCHEDULE: defaultSchedule,
      languageWorkers__node__arguments: workerArguments,
      CONFIG_DIR: join(options.appDirectory, "config"),
      ...storage,
      ...bus,
      ...graph.settings,
      ...directory.settings,
      ...given,
      // Here a person writes it, who means the folder where they stand.
      ...(given.CONFIG_DIR === undefined ? {} : { CONFIG_DIR: resolve(given.CONFIG_DIR) }),
    };

    const host = await startFirstHost(options, settings, processes);
    for (let number = 2; number <= options.hosts; number++) {
      // A timer runs on one instance of many: here on the first.
      await processes.runHost(`host-${number}`, options.appDirectory, settings, 0, ["--no-timers"]);
    }
    const api = `http://127.0.0.1:${host.port}/api`;
    const instances = options.hosts === 1 ? "" : ` on each of ${options.hosts} hosts`;
    options.say(`functions   ${host.functions.length} functions${instances}`);
    const file: PlatformFile = { api, graph: graph.file, ad: directory.file };
    state.write("platform.json", `${JSON.stringify(file, null, 2)}\n`);
    return new Platform(api, settings, processes);
  }

  /** Stops the hosts, then the rest, the tables last; frees the state folder. */
  stop(): Promise<void> {
    return this.#processes.stop();
  }
}

/** The processes of one platform, and what happens when one of them ends. */
class Processes {
  readonly failed: Promise<PlatformError>;
  readonly #state: StateFolder;
  readonly say: (line: string) => void;
  readonly #pids: Record<string, number> = { supervisor: process.pid };
  readonly #children = new Map<string, Child<unknown>>();
  #fail: (error: PlatformError) => void = () => {};
  #stopping: Promise<void> | undefined;

  constructor(state: StateFolder, say: (line: string) => void) {
    this.#state = state;
    this.say = say;
    this.failed = new Promise((resolve) => {
      this.#fail = resolve;
    });
  }

  /** Starts a process without which the platform cannot go on. */
  async run<Ready>(name: string, file: string, args: readonly string[]): Promise<Ready> {
    const child = await this.#start<Ready>(name, file, args, process.env);
    void child.ended.then((end) => {
      if (this.#stopping !== undefined) return;
      this.#fail(new PlatformError(`${name} ended ${how(end)}${tail(end)}`, 1));
    });
    return child.ready;
  }

  /** Starts a function host. It is started again whenever it ends, unless it says that the settings are wrong. */
  async runHost(
    name: string,
    appDirectory: string,
    settings: Readonly<Record<string, string>>,
    port: number,
    flags: readonly string[],
  ): Promise<HostReady> {
    const env = { ...process.env, ...settings };
    const start = (onPort: number) =>
      this.#start<HostReady>(
        name,
        "host/main.ts",
        ["--app", appDirectory, "--port", String(onPort), ...flags],
        env,
        // As the Functions host starts its worker with them.
        env.languageWorkers__node__arguments?.split(" "),
      );
    const first = await start(port);
    void this.#keepRunning(name, first, () => start(first.ready.port));
    return first.ready;
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stopInOrder();
    return this.#stopping;
  }

  async #keepRunning(
    name: string,
    first: Child<HostReady>,
    start: () => Promise<Child<HostReady>>,
  ): Promise<void> {
    let end = await first.ended;
    for (let failures = 0; this.#stopping === undefined; ) {
      if (end.code === 2) return this.#fail(new PlatformError(end.lastLines.join("\n"), 2));
      if (failures === failedRestartsMax) {
        return this.#fail(new PlatformError(`${name} cannot be started again${tail(end)}`, 1));
      }
      this.say(`${name} ended ${how(end)}; it is started again.${end.code ? tail(end) : ""}`);
      await sleep(restartDelayMs);
      if (this.#stopping !== undefined) return;
      try {
        const child = await start();
        failures = 0;
        end = await child.ended;
      } catch (error) {
        if (!(error instanceof ChildStartError)) throw error;
        failures++;
        end = error.end;
      }
    }
  }

  async #start<Ready>(
    name: string,
    file: string,
    args: readonly string[],
    env: NodeJS.ProcessEnv,
    nodeArguments: readonly string[] = [],
  ): Promise<Child<Ready>> {
    const options = {
      name,
      file: join(import.meta.dirname, file),
      args: [...args, "--exit-with-parent"],
      nodeArguments,
      env,
      logFile: this.#state.file(`logs/${name}.log`),
    };
    const child = await startChild<Ready>(options, (pid) => {
      this.#pids[name] = pid;
      this.#state.write("processes.json", `${JSON.stringify(this.#pids, null, 2)}\n`);
    });
    this.#children.set(name, child);
    // Stopping had begun while this one was still starting, and did not see it.
    if (this.#stopping !== undefined) await child.stop(stopMaxMs);
    return child;
  }

  async #stopInOrder(): Promise<void> {
    const stopAll = (isOne: (name: string) => boolean) =>
      Promise.all(
        [...this.#children].filter(([name]) => isOne(name)).map(([, child]) => child.stop(stopMaxMs)),
      );
    const isHost = (name: string) => name.startsWith("host");
    await stopAll(isHost);
    await stopAll((name) => !isHost(name) && name !== "azurite");
    await stopAll((name) => name === "azurite");
    this.#state.remove("processes.json");
    this.#state.remove("platform.json");
    this.#state.release();
  }
}

/** The app settings that are given, an empty one counting as none: options, environment, local.settings.json. */
function givenSettings(options: PlatformOptions): Record<string, string> {
  const file = localSettings(options.appDirectory);
  const environment = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => name in file || isAppSetting(name)),
  );
  return Object.fromEntries(
    Object.entries({ ...file, ...environment, ...options.settings }).filter(
      (entry): entry is [string, string] => entry[1] !== undefined && entry[1] !== "",
    ),
  );
}

function isAppSetting(name: string): boolean {
  return /^(Storage|ServiceBus)(__|$)|^(GRAPH|AD)_|^(GUEST_OU|CYCLE_SCHEDULE|STAGING_MODE|CONFIG_DIR)$/.test(
    name,
  );
}

type Given = Readonly<Record<string, string>>;

async function startTables(given: Given, state: StateFolder, processes: Processes): Promise<Given> {
  if (given.Storage ?? given.Storage__tableServiceUri) return {};
  const args = ["--data", state.file("tables")];
  const { connectionString } = await processes.run<{ connectionString: string }>(
    "azurite",
    "azurite.ts",
    args,
  );
  processes.say("tables      Azurite");
  return { Storage: connectionString };
}

async function startQueues(
  given: Given,
  state: StateFolder,
  processes: Processes,
  { lockDurationMs = queue.lockDurationMs }: PlatformOptions,
): Promise<Given> {
  const queues = Object.fromEntries(queueNames.map((name) => [name, { ...queue, lockDurationMs }]));
  if (given.ServiceBus ?? given.ServiceBus__fullyQualifiedNamespace) return {};
  const args = ["--port", "0", "--data", state.file("queues"), "--queues", JSON.stringify(queues)];
  const ready = await processes.run<{ port: number; connectionString: string }>(
    "broker",
    "broker/main.ts",
    args,
  );
  processes.say(`queues      Service Bus broker, port ${ready.port}`);
  return { ServiceBus: ready.connectionString };
}

interface GraphReady {
  readonly url: string;
  readonly ca: string;
  readonly token: string;
  readonly admin: string;
}

async function startGraph(
  given: Given,
  state: StateFolder,
  processes: Processes,
  options: PlatformOptions,
): Promise<{ settings: Given; file: PlatformFile["graph"] }> {
  if (given.GRAPH_BASE_URL !== undefined) {
    processes.say(`Graph       ${given.GRAPH_BASE_URL}`);
    const ca = given.GRAPH_CA_CERTIFICATE;
    return { settings: {}, file: { url: given.GRAPH_BASE_URL, ...(ca === undefined ? {} : { ca }) } };
  }
  const numbers = { guests: options.guests, members: options.members, seed: options.seed };
  const ready = await processes.run<GraphReady>("graph", "graph/main.ts", [
    ...["--port", "0", "--data", state.file("graph")],
    ...Object.entries(numbers).flatMap(([name, value]) =>
      value === undefined ? [] : [`--${name}`, String(value)],
    ),
  ]);
  processes.say(`Graph       sandbox tenant at ${ready.url}`);
  state.write("graph-token", ready.token);
  return {
    settings: {
      GRAPH_BASE_URL: ready.url,
      GRAPH_CA_CERTIFICATE: ready.ca,
      GRAPH_ACCESS_TOKEN: ready.token,
    },
    file: { url: ready.url, ca: ready.ca, tokenFile: state.file("graph-token"), admin: ready.admin },
  };
}

async function startDirectory(
  given: Given,
  state: StateFolder,
  processes: Processes,
  options: PlatformOptions,
): Promise<{ settings: Given; file: PlatformFile["ad"] }> {
  if (given.AD_URL !== undefined) {
    processes.say(`directory   ${given.AD_URL}`);
    const { AD_CA_CERTIFICATE, AD_SERVER_NAME, AD_BASE_DN, GUEST_OU, AD_BIND_DN } = given;
    const known = {
      ca: AD_CA_CERTIFICATE,
      serverName: AD_SERVER_NAME,
      baseDn: AD_BASE_DN,
      guestOu: GUEST_OU,
      bindDn: AD_BIND_DN,
    };
    const file = Object.fromEntries(Object.entries(known).filter(([, value]) => value !== undefined));
    return { settings: {}, file: { url: given.AD_URL, ...file } };
  }
  const samba = options.directory === "samba";
  const program = samba ? "samba/main.ts" : "directory/main.ts";
  const ready = await processes.run<DirectoryReady>("directory", program, [
    ...(samba ? [] : ["--port", "0"]),
    ...["--data", state.file(samba ? "samba" : "directory")],
  ]);
  processes.say(`directory   ${samba ? "Samba domain controller" : "sandbox"} at ${ready.url}`);
  return {
    settings: {
      AD_URL: ready.url,
      AD_BIND_DN: ready.bindDn,
      AD_BIND_PASSWORD: readFileSync(ready.bindPasswordFile, "utf8").trim(),
      AD_CA_CERTIFICATE: ready.ca,
      AD_SERVER_NAME: ready.serverName,
      AD_BASE_DN: ready.baseDn,
      GUEST_OU: ready.guestOu,
    },
    file: {
      url: ready.url,
      ca: ready.ca,
      serverName: ready.serverName,
      baseDn: ready.baseDn,
      guestOu: ready.guestOu,
      bindDn: ready.bindDn,
      bindPasswordFile: ready.bindPasswordFile,
    },
  };
}

/** Without a port given: another platform may take the free one first, then the next is tried. */
async function startFirstHost(
  { appDirectory, port }: PlatformOptions,
  settings: Given,
  processes: Processes,
): Promise<HostReady> {
  for (let from = defaultPort; ; ) {
    const chosen = port ?? (await freePortFrom(from));
    try {
      return await processes.runHost("host", appDirectory, settings, chosen, []);
    } catch (error) {
      const isTaken =
        error instanceof ChildStartError && error.end.lastLines.some((line) => line.includes("EADDRINUSE"));
      if (port !== undefined || !isTaken) throw error;
      from = chosen + 1;
    }
  }
}

async function freePortFrom(first: number): Promise<number> {
  for (let port = first; port < first + 100; port++) if (await isFree(port)) return port;
  throw new PlatformError(`No port from ${first} to ${first + 99} is free: name one with --port N.`, 2);
}

function how({ code, signal }: ChildEnd): string {
  return signal === null ? `with code ${code}` : `by ${signal}`;
}

function tail({ lastLines }: ChildEnd): string {
  return lastLines.length === 0 ? "" : `:\n${lastLines.slice(-10).join("\n")}`;
}
