import { ConfigurationError, type ConfigurationProblem } from "./engine/core/configuration.ts";
import type { StepQueue } from "./engine/ports/bus.ts";
import { defaultTimings, type Timings } from "./engine/runs/protocol.ts";

/** The app settings that the platform itself needs; those of connectors stand in their configuration. */
export interface Settings {
  readonly storage: { readonly connectionString: string } | { readonly serviceUri: string };
  readonly serviceBus: { readonly connectionString: string } | { readonly namespace: string };
  readonly queues: Readonly<Record<StepQueue, string>>;
  /** NCRONTAB with six fields, UTC. */
  readonly cycleSchedule: string;
  readonly watchdogSchedule: string;
  readonly configFolder: string;
  readonly timings: Timings;
}

const unresolvedReference = "@Microsoft.KeyVault(";

/** @throws ConfigurationError naming every setting that is wrong, and what to do */
export function readSettings(environment: Readonly<Record<string, string | undefined>>): Settings {
  const problems: ConfigurationProblem[] = [];
  const wrong = (name: string, message: string, remedy: string) =>
    problems.push({ file: `app setting ${name}`, line: 0, column: 0, message, remedy });
  const text = (name: string): string | undefined => {
    const value = environment[name]?.trim();
    if (value === undefined || value === "") return undefined;
    if (value.startsWith(unresolvedReference)) {
      wrong(
        name,
        "is a Key Vault reference that was not resolved",
        "Check that the app's identity may read the secret.",
      );
      return undefined;
    }
    return value;
  };
  const seconds = (name: string, fallback: number): number => {
    const value = text(name);
    if (value === undefined) return fallback;
    const number = Number(value);
    if (Number.isFinite(number) && number > 0) return number * 1000;
    wrong(
      name,
      `is ${JSON.stringify(value)}, not a number of seconds`,
      "Give a number above 0, or leave it out.",
    );
    return fallback;
  };
  const schedule = (name: string, fallback: string): string => {
    const value = text(name) ?? fallback;
    if (value.split(/\s+/).length !== 6) {
      wrong(
        name,
        `is ${JSON.stringify(value)}, not an NCRONTAB expression`,
        'It has six fields, as in "0 */30 * * * *".',
      );
    }
    return value;
  };

  const storage = text("Storage");
  const serviceUri = text("Storage__tableServiceUri");
  if (storage === undefined && serviceUri === undefined) {
    wrong(
      "Storage",
      "is missing",
      "Give a connection string, or Storage__tableServiceUri for a managed identity.",
    );
  } else if (storage !== undefined && !/(AccountName|TableEndpoint|UseDevelopmentStorage)=/i.test(storage)) {
    wrong("Storage", "is not a connection string", "Copy it from the storage account's access keys.");
  }
  const serviceBus = text("ServiceBus");
  const namespace = text("ServiceBus__fullyQualifiedNamespace");
  if (serviceBus === undefined && namespace === undefined) {
    wrong(
      "ServiceBus",
      "is missing",
      "Give a connection string, or ServiceBus__fullyQualifiedNamespace for a managed identity.",
    );
  } else if (serviceBus !== undefined && !/Endpoint=sb:\/\//i.test(serviceBus)) {
    wrong("ServiceBus", "is not a connection string", "It begins with Endpoint=sb://.");
  }
  const staging = text("STAGING_MODE");
  if (staging !== undefined && !/^(true|false)$/i.test(staging)) {
    wrong("STAGING_MODE", `is ${JSON.stringify(staging)}`, "Give true or false.");
  }
  const leaseMs = seconds("RUN_LEASE_SECONDS", defaultTimings.leaseMs);
  const settings: Settings = {
    storage: storage === undefined ? { serviceUri: serviceUri ?? "" } : { connectionString: storage },
    serviceBus: serviceBus === undefined ? { namespace: namespace ?? "" } : { connectionString: serviceBus },
    queues: {
      "import-steps": text("IMPORT_QUEUE") ?? "import-steps",
      "sync-steps": text("SYNC_QUEUE") ?? "sync-steps",
      "export-steps": text("EXPORT_QUEUE") ?? "export-steps",
    },
    cycleSchedule: schedule("CYCLE_SCHEDULE", "0 */30 * * * *"),
    watchdogSchedule: schedule("WATCHDOG_SCHEDULE", "0 * * * * *"),
    configFolder: text("CONFIG_DIR") ?? "config",
    timings: {
      ...defaultTimings,
      leaseMs,
      // Half a lease, as the defaults have it: what is left for clocks that differ.
      takeoverMs: leaseMs / 2,
      budgetMs: seconds("RUN_TIME_BUDGET_SECONDS", defaultTimings.budgetMs),
    },
  };
  if (problems.length > 0) throw new ConfigurationError(problems);
  return settings;
}
