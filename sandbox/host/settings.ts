/**
 * Where a function app's settings come from on one machine, and how bindings refer to them. The rules are those of
 * the Functions host: https://learn.microsoft.com/azure/azure-functions/functions-develop-local#local-settings-file
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

export type Settings = Readonly<Record<string, string | undefined>>;

/** The app cannot be started as it is written or configured; the message says what to change. */
export class AppStartError extends Error {
  override readonly name = "AppStartError";
}

/**
 * `Values` of local.settings.json; empty when there is no such file.
 * @throws AppStartError when the file is not what the Functions host accepts
 */
export function localSettings(appDirectory: string): Record<string, string> {
  const file = join(appDirectory, "local.settings.json");
  if (!existsSync(file)) return {};
  const { Values: values = {} } = readJson(file) as { Values?: Record<string, unknown> };
  const other = Object.entries(values).find(([, value]) => typeof value !== "string");
  if (other !== undefined) {
    throw new AppStartError(`${file}: Values.${other[0]} must be a string, as app settings are.`);
  }
  return values as Record<string, string>;
}

/** @throws AppStartError naming the file, with the parser's message */
export function readJson(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch (error) {
    throw new AppStartError(`${file}: ${(error as Error).message}`);
  }
}

/**
 * Replaces each `%NAME%` of a binding's option by the setting of that name.
 * @throws AppStartError when a setting is unset or empty
 */
export function resolveSettings(text: string, settings: Settings, usedBy: string): string {
  return text.replace(/%([^%]+)%/g, (reference, name: string) => {
    const value = settings[name];
    if (value) return value;
    throw new AppStartError(
      `${usedBy} refers to ${reference}, but the app setting ${name} is not set. ` +
        "Set it in the environment or under Values in local.settings.json.",
    );
  });
}

export type ServiceBusConnection =
  | { readonly kind: "connectionString"; readonly connectionString: string }
  | { readonly kind: "identity"; readonly namespace: string };

/**
 * What the connection name of a Service Bus binding stands for: a setting with a connection string, or settings
 * below the name (`NAME__fullyQualifiedNamespace`) for a managed identity.
 * @throws AppStartError when neither is set
 */
export function serviceBusConnection(name: string, settings: Settings, usedBy: string): ServiceBusConnection {
  for (const prefix of ["", "AzureWebJobs"]) {
    const connectionString = settings[`${prefix}${name}`];
    if (connectionString) return { kind: "connectionString", connectionString };
    const namespace = settings[`${prefix}${name}__fullyQualifiedNamespace`];
    if (namespace) return { kind: "identity", namespace };
  }
  throw new AppStartError(
    `${usedBy} uses the connection ${name}, but neither the app setting ${name} (a connection string) ` +
      `nor ${name}__fullyQualifiedNamespace (a namespace, for a managed identity) is set.`,
  );
}
