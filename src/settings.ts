import { ConfigurationError, type ConfigurationProblem } from "./engine/core/configuration.ts";
import { durationMs } from "./engine/core/duration.ts";
import type { StepQueue } from "./engine/ports/bus.ts";
import { defaultRetention, type RetentionTimes } from "./engine/retention.ts";
import { defaultTimings, type Timings } from "./engine/runs/protocol.ts";
import type { TelemetrySettings } from "./telemetry/open.ts";

/** The app settings that the platform itself needs; those of connectors stand in their configuration. */
export interface Settings {
  readonly storage: { readonly connectionString: string } | { readonly serviceUri: string };
  readonly serviceBus: { readonly connectionString: string } | { readonly namespace: string };
  readonly queues: Readonly<Record<StepQueue, string>>;
  /** NCRONTAB with six fields, UTC. */
  readonly cycleSchedule: string;
  readonly watchdogSchedule: string;
  readonly configFolder: string;
  readonly telemetry: TelemetrySettings;
  readonly timings: Timings;
  readonly retention: RetentionTimes;
}

const unresolvedReference = "@Microsoft.KeyVault(";

/**
 * @param environment the app settings. Besides those of DESIGN section 10: `IMPORT_QUEUE`, `SYNC_QUEUE`,
 *   `EXPORT_QUEUE` (names of the queues), `WATCHDOG_SCHEDULE` (NCRONTAB), `API_AUTHENTICATION` (keys or entra), `WEBHOOK_URL` and `WEBHOOK_FORMAT` (json or
 *   teams: where events are posted), `CYCLE_OVERDUE_MINUTES` (without a good cycle, before the webhook is told), `AD_BIND_PASSWORD_EXPIRES` (a day: told of 30 days before), `RUN_LEASE_SECONDS` and
 *   `RUN_TIME_BUDGET_SECONDS` (of one function's work), and `RUN_RETRY_SECONDS` ("15,45": the waits before work is
 *   tried again that a directory, or the tables, did not answer; after the last one the step ends)
 *   and `RUN_HISTORY_RETENTION`, `OBJECT_HISTORY_RETENTION`, `AUDIT_RETENTION` (ISO 8601 durations: how long each is kept)
 * @throws ConfigurationError naming every setting that is wrong, and what to do
 */
export function readSettings(environment: Readonly<Record<string, string | undefined>>): Settings {
  const problems: ConfigurationProblem[] = [];
  const wrong = (setting: string, what: string, remedy: string) =>
    problems.push({
      file: "app settings",
      line: 0,
      column: 0,
      message: `${setting} ${what}.`,
      remedy,
      setting,
    });
  const isGiven = (name: string): boolean => (environment[name] ?? "").trim() !== "";
  const text = (name: string): string | undefined => {
    const value = environment[name]?.trim();
    if (value === undefined || value === "") return undefined;
    if (value.startsWith(unresolvedReference)) {
      wrong(
        name,
        "is a Key Vault reference that was not resolved",
        "Give the app's managed identity the role Key Vault Secrets User on the vault, and check the secret's name.",
      );
      return undefined;
    }
    return value;
  };
  const amount = (name: string, unit: string, unitMs: number, fallback: number): number => {
    const value = text(name);
    if (value === undefined) return fallback;
    const number = Number(value);
    if (Number.isFinite(number) && number > 0) return number * unitMs;
    wrong(
      name,
      `is ${JSON.stringify(value)}, not a number of ${unit}`,
      "Give a number above 0, or leave it out.",
    );
    return fallback;
  };
  const seconds = (name: string, fallback: number): number => amount(name, "seconds", 1000, fallback);
  const time = (name: string, fallback: number): number => {
    const value = text(name);
    if (value === undefined) return fallback;
    const ms = durationMs(value);
    if (ms !== undefined && ms > 0) return ms;
    wrong(
      name,
      `is ${JSON.stringify(value)}, not a duration`,
      "Give an ISO 8601 duration such as P30D, or leave it out.",
    );
    return fallback;
  };
  const listOfSeconds = (name: string, fallback: readonly number[]): readonly number[] => {
    const value = text(name);
    if (value === undefined) return fallback;
    const numbers = value.split(",").map((part) => (part.trim() === "" ? Number.NaN : Number(part)));
    if (numbers.every((number) => Number.isFinite(number) && number >= 0))
      return numbers.map((number) => number * 1000);
    wrong(
      name,
      `is ${JSON.stringify(value)}, not a list of seconds`,
      'Give numbers with commas between them, as in "15,45", or leave it out.',
    );
    return fallback;
  };
  const schedule = (name: string, fallback: string): string => {
    const value = text(name) ?? fallback;
    if (!isNcrontab(value)) {
      wrong(
        name,
        `is ${JSON.stringify(value)}, not an NCRONTAB expression`,
        'It has six fields, second minute hour day month day-of-week: "0 */30 * * * *" is every half hour.',
      );
    }
    return value;
  };

  const storage = text("Storage");
  const serviceUri = text("Storage__tableServiceUri");
  if (!isGiven("Storage") && !isGiven("Storage__tableServiceUri")) {
    wrong(
      "Storage",
      "is missing",
      "Give a connection string, or Storage__tableServiceUri for a managed identity.",
    );
  } else if (storage !== undefined && !isStorageConnection(connectionParts(storage))) {
    wrong(
      "Storage",
      "is not a whole connection string",
      "Copy it from the storage account's access keys: AccountName=…;AccountKey=…, or one with TableEndpoint=….",
    );
  }
  const serviceBus = text("ServiceBus");
  const namespace = text("ServiceBus__fullyQualifiedNamespace");
  if (!isGiven("ServiceBus") && !isGiven("ServiceBus__fullyQualifiedNamespace")) {
    wrong(
      "ServiceBus",
      "is missing",
      "Give a connection string, or ServiceBus__fullyQualifiedNamespace for a managed identity.",
    );
  } else if (serviceBus !== undefined && !isServiceBusConnection(connectionParts(serviceBus))) {
    wrong(
      "ServiceBus",
      "is not a whole connection string",
      "Copy it from the namespace's shared access policies: Endpoint=sb://…;SharedAccessKeyName=…;SharedAccessKey=….",
    );
  }
  const staging = text("STAGING_MODE");
  if (staging !== undefined && !/^(true|false)$/i.test(staging)) {
    wrong("STAGING_MODE", `is ${JSON.stringify(staging)}, neither true nor false`, "Give one of them.");
  }
  const insights = text("APPLICATIONINSIGHTS_CONNECTION_STRING");
  if (insights !== undefined && !connectionParts(insights).has("instrumentationkey")) {
    wrong(
      "APPLICATIONINSIGHTS_CONNECTION_STRING",
      "is not a connection string of Application Insights",
      "Copy it from the component's overview: InstrumentationKey=…;IngestionEndpoint=…. Leave it out for none.",
    );
  }
  const webhookUrl = text("WEBHOOK_URL");
  if (webhookUrl !== undefined && !isWebAddress(webhookUrl)) {
    wrong("WEBHOOK_URL", "is not an https address", "Give the address of the webhook, or leave it out.");
  }
  const webhookFormat = text("WEBHOOK_FORMAT") ?? "json";
  if (webhookFormat !== "json" && webhookFormat !== "teams") {
    wrong(
      "WEBHOOK_FORMAT",
      `is ${JSON.stringify(webhookFormat)}`,
      "Give json or teams, or leave it out for json.",
    );
  }
  const passwordExpires = text("AD_BIND_PASSWORD_EXPIRES");
  if (passwordExpires !== undefined && !isDay(passwordExpires)) {
    wrong(
      "AD_BIND_PASSWORD_EXPIRES",
      `is ${JSON.stringify(passwordExpires)}, not a day`,
      "Give a day such as 2027-03-31, or leave it out where the password does not end.",
    );
  }
  const overdueMs = amount("CYCLE_OVERDUE_MINUTES", "minutes", 60_000, 120 * 60_000);
  const authentication = text("API_AUTHENTICATION");
  if (authentication !== undefined && !/^(keys|entra)$/i.test(authentication)) {
    wrong(
      "API_AUTHENTICATION",
      `is ${JSON.stringify(authentication)}`,
      "Give keys (function keys) or entra (App Service authentication).",
    );
  }
  const leaseMs = seconds("RUN_LEASE_SECONDS", defaultTimings.leaseMs);
  const settings: Settings = {
    storage:
      storage === undefined ? { serviceUri: serviceUri ?? "" } : { connectionString: withProtocol(storage) },
    serviceBus: serviceBus === undefined ? { namespace: namespace ?? "" } : { connectionString: serviceBus },
    queues: {
      "import-steps": text("IMPORT_QUEUE") ?? "import-steps",
      "sync-steps": text("SYNC_QUEUE") ?? "sync-steps",
      "export-steps": text("EXPORT_QUEUE") ?? "export-steps",
    },
    cycleSchedule: schedule("CYCLE_SCHEDULE", "0 */30 * * * *"),
    watchdogSchedule: schedule("WATCHDOG_SCHEDULE", "0 * * * * *"),
    configFolder: text("CONFIG_DIR") ?? "config",
    telemetry: {
      connectionString: insights,
      byIdentity: /(^|;)\s*authorization\s*=\s*aad/i.test(
        environment.APPLICATIONINSIGHTS_AUTHENTICATION_STRING ?? "",
      ),
      passwordEnds: passwordExpires === undefined ? undefined : Date.parse(passwordExpires),
      webhook:
        webhookUrl === undefined
          ? undefined
          : { url: webhookUrl, format: webhookFormat === "teams" ? "teams" : "json", overdueMs },
    },
    retention: {
      runHistoryMs: time("RUN_HISTORY_RETENTION", defaultRetention.runHistoryMs),
      objectHistoryMs: time("OBJECT_HISTORY_RETENTION", defaultRetention.objectHistoryMs),
      auditMs: time("AUDIT_RETENTION", defaultRetention.auditMs),
    },
    timings: {
      ...defaultTimings,
      leaseMs,
      // Half a lease, as the defaults have it: what is left for clocks that differ.
      takeoverMs: leaseMs / 2,
      retryDelaysMs: listOfSeconds("RUN_RETRY_SECONDS", defaultTimings.retryDelaysMs),
      budgetMs: seconds("RUN_TIME_BUDGET_SECONDS", defaultTimings.budgetMs),
    },
  };
  if (problems.length > 0) throw new ConfigurationError(problems);
  return settings;
}

/**
 * `STAGING_MODE` as it is now: nothing is exported. Read anew at every batch, so what stands there may be other than at
 * the start, and only a plain `false`, or nothing, lets exports go.
 */
export function isStagingMode(environment: Readonly<Record<string, string | undefined>>): boolean {
  return !["", "false"].includes((environment.STAGING_MODE ?? "").trim().toLowerCase());
}

/** `Name=value;Name=value`; names in lower case, empty values left out. */
function connectionParts(text: string): ReadonlyMap<string, string> {
  const pairs = text.split(";").flatMap((part): [string, string][] => {
    const at = part.indexOf("=");
    const value = part.slice(at + 1).trim();
    return at < 1 || value === "" ? [] : [[part.slice(0, at).trim().toLowerCase(), value]];
  });
  return new Map(pairs);
}

/** `@azure/data-tables` takes a connection string without its protocol for a shared access signature. */
function withProtocol(connection: string): string {
  const parts = connectionParts(connection);
  const isKeyed = parts.has("accountkey") && !parts.has("defaultendpointsprotocol");
  return isKeyed ? `DefaultEndpointsProtocol=https;${connection}` : connection;
}

function isStorageConnection(parts: ReadonlyMap<string, string>): boolean {
  if (parts.get("usedevelopmentstorage") === "true") return true;
  const hasKey = parts.has("accountname") && parts.has("accountkey");
  return hasKey || (parts.has("tableendpoint") && parts.has("sharedaccesssignature"));
}

function isServiceBusConnection(parts: ReadonlyMap<string, string>): boolean {
  const hasKey = parts.has("sharedaccesskeyname") && parts.has("sharedaccesskey");
  return /^sb:\/\/./i.test(parts.get("endpoint") ?? "") && (hasKey || parts.has("sharedaccesssignature"));
}

function isDay(text: string): boolean {
  return /^\d{4}-\d{2}-\d{2}$/.test(text) && !Number.isNaN(Date.parse(text));
}

/** Plain http only to this machine: a webhook's address is a secret. */
function isWebAddress(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, hostname } = new URL(text);
  return protocol === "https:" || (protocol === "http:" && /^(localhost|127\.\d+\.\d+\.\d+)$/.test(hostname));
}

const monthNames = "jan feb mar apr may jun jul aug sep oct nov dec".split(" ");
const dayNames = "sun mon tue wed thu fri sat".split(" ");
/** Lowest and highest number of each field; the last two may be names as well. */
const ncrontabFields: readonly (readonly [min: number, max: number, names?: readonly string[]])[] = [
  [0, 59],
  [0, 59],
  [0, 23],
  [1, 31],
  [1, 12, monthNames],
  [0, 6, dayNames],
];

/** https://learn.microsoft.com/azure/azure-functions/functions-bindings-timer#ncrontab-expressions */
function isNcrontab(text: string): boolean {
  const fields = text.split(/\s+/);
  return (
    fields.length === ncrontabFields.length &&
    ncrontabFields.every(([min, max, names = []], index) => {
      const number = (word: string): number => {
        const name = names.indexOf(word.toLowerCase());
        if (name >= 0) return min + name;
        return /^\d{1,2}$/.test(word) ? Number(word) : Number.NaN;
      };
      return fields[index]!.split(",").every((part) => {
        const [range, step, ...more] = part.split("/");
        if (more.length > 0 || (step !== undefined && !(number(step) >= 1))) return false;
        const [from, to, ...others] = range === "*" ? [String(min), String(max)] : range!.split("-");
        const first = number(from!);
        const last = to === undefined ? first : number(to);
        return others.length === 0 && first >= min && last <= max && first <= last;
      });
    })
  );
}
