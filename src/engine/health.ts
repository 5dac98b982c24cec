/**
 * Whether what the engine depends on answers.
 *
 *   tables or queues fail          nothing works: the platform should send no traffic
 *   a connected directory fails    degraded: its steps wait, everything else goes on
 *
 * Anybody may ask, so messages name the setting to look at and nothing secret, and asking often costs nothing.
 */
import type { Engine } from "./engine.ts";
import { ConnectorError } from "./ports/connector.ts";
import { StoreError } from "./ports/tables.ts";

export interface HealthCheck {
  readonly name: string;
  readonly status: "healthy" | "warning" | "failed";
  readonly message: string;
}

export interface Health {
  readonly status: "healthy" | "degraded";
  readonly checks: readonly HealthCheck[];
  /** False when the engine cannot work at all. */
  readonly available: boolean;
}

export interface Probe {
  readonly name: string;
  /** Without it the engine cannot work at all. */
  readonly essential: boolean;
  /** What a person should look at when it fails in a way that says nothing itself. */
  readonly remedy: string;
  /** Answers with a warning where something is not as it should be and nothing has failed; anything else is health. */
  run(): Promise<unknown>;
}

/** Something is not as it should be, though it answers. */
export class HealthWarning {
  readonly message: string;
  constructor(message: string) {
    this.message = message;
  }
}

/** Something answers, and what it says is a failure; `message` is for anybody. */
class HealthFailure extends Error {}

export interface HealthOptions {
  /** Milliseconds since 1970. */
  now(): number;
  log(message: string): void;
  readonly timeoutMs: number;
  readonly cacheMs: number;
}

export class HealthMonitor {
  readonly #probes: readonly Probe[];
  readonly #warnings: readonly string[];
  readonly #options: HealthOptions;
  /** Probes that have outlived their time-out: a second one is not begun beside them. */
  readonly #underWay = new Map<string, Promise<unknown>>();
  #last: { readonly health: Promise<Health>; readonly until: number } | null = null;

  /** @param warnings places in the configuration, such as `config/rules/x.yaml:12` */
  constructor(probes: readonly Probe[], warnings: readonly string[], options: HealthOptions) {
    this.#probes = probes;
    this.#warnings = warnings;
    this.#options = options;
  }

  check(): Promise<Health> {
    const now = this.#options.now();
    if (this.#last === null || now >= this.#last.until)
      this.#last = { health: this.#checkNow(), until: now + this.#options.cacheMs };
    return this.#last.health;
  }

  async #checkNow(): Promise<Health> {
    const checks = await Promise.all(this.#probes.map((probe) => this.#probe(probe)));
    const failed = new Set(checks.filter(({ status }) => status === "failed").map(({ name }) => name));
    return {
      status: failed.size === 0 ? "healthy" : "degraded",
      checks: [...checks, configurationCheck(this.#warnings)],
      available: !this.#probes.some(({ name, essential }) => essential && failed.has(name)),
    };
  }

  async #probe(probe: Probe): Promise<HealthCheck> {
    const { now, log, timeoutMs } = this.#options;
    const { name, remedy } = probe;
    const begun = now();
    let timer: NodeJS.Timeout | undefined;
    const timedOut = new Promise<HealthCheck>((resolve) => {
      const message = `No answer within ${timeoutMs / 1000} s. ${remedy}`;
      timer = setTimeout(() => resolve({ name, status: "failed", message }), timeoutMs);
    });
    const answered = this.#run(probe).then(
      (answer): HealthCheck =>
        answer instanceof HealthWarning
          ? { name, status: "warning", message: answer.message }
          : { name, status: "healthy", message: `Answered in ${now() - begun} ms.` },
      (error: unknown): HealthCheck => {
        if (isOwn(error)) return { name, status: "failed", message: error.message };
        log(`health: ${name}: ${error}`);
        return { name, status: "failed", message: `It does not answer (${codeOf(error)}). ${remedy}` };
      },
    );
    try {
      return await Promise.race([answered, timedOut]);
    } finally {
      clearTimeout(timer);
    }
  }

  #run({ name, run }: Probe): Promise<unknown> {
    let running = this.#underWay.get(name);
    if (running === undefined) {
      running = (async () => run())().finally(() => this.#underWay.delete(name));
      this.#underWay.set(name, running);
    }
    return running;
  }
}

function configurationCheck(warnings: readonly string[]): HealthCheck {
  const name = "configuration";
  if (warnings.length === 0) return { name, status: "healthy", message: "No warnings." };
  const message = `${warnings.length} warnings, at ${warnings.slice(0, 5).join(", ")}${warnings.length > 5 ? " …" : ""}.`;
  return { name, status: "warning", message };
}

/** Our own errors name the setting and hold no secret; what a library says may name anything. */
function isOwn(error: unknown): error is Error {
  return error instanceof ConnectorError || error instanceof StoreError || error instanceof HealthFailure;
}

function codeOf(error: unknown): string {
  const { code, name } = error as { readonly code?: unknown; readonly name?: unknown };
  const known = [code, name].find((one) => typeof one === "string" && /^\w+$/.test(one));
  return typeof known === "string" ? known : "unknown error";
}

/** The health of one deployment; to be made once in a process, because it remembers the last answer. */
export function engineHealth(engine: Engine): HealthMonitor {
  const { options, configuration } = engine;
  const probes: Probe[] = [
    {
      name: "tables",
      essential: true,
      remedy: "Check the setting Storage or Storage__tableServiceUri.",
      run: () => engine.schedule.get(),
    },
    {
      name: "queues",
      essential: true,
      remedy:
        "Check the setting ServiceBus or ServiceBus__fullyQualifiedNamespace, and that the queues exist.",
      run: () => options.pingBus(),
    },
    ...[...configuration.connectors.keys()].map((name) => ({
      name,
      essential: false,
      remedy: `Check the settings of connector ${name}.`,
      run: () => (name === engine.rulesConnector ? rulesHealth(engine) : engine.connector(name).ping()),
    })),
  ];
  return new HealthMonitor(
    probes,
    configuration.warnings.map(({ file, line }) => `${file}:${line}`),
    { now: () => options.clock.now(), log: options.log, timeoutMs: 5_000, cacheMs: 10_000 },
  );
}

/** Refused rules are a failure, those that wait for a person a warning. */
async function rulesHealth({ rules }: Engine): Promise<unknown> {
  const { status, message } = await rules.status();
  if (status === "failed") throw new HealthFailure(message);
  return status === "warning" ? new HealthWarning(message) : undefined;
}
