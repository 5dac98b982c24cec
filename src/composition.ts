/**
 * The one file that names concrete stores, clock and bus; `connectors.ts` names the connectors. It is loaded with the function app: a mistake in
 * configuration or settings is thrown here, before any function is registered.
 */
import { randomBytes } from "node:crypto";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { DefaultAzureCredential } from "@azure/identity";
import { connectorKinds, openConnectors } from "./connectors.ts";
import { ServiceBus } from "./engine/bus/serviceBus.ts";
import { loadDeployment, ruleFiles } from "./engine/configuration/loadConfiguration.ts";
import { startConfiguration } from "./engine/configuration/startConfiguration.ts";
import { rulesConnectorKind } from "./engine/core/ruleDocuments.ts";
import { Engine } from "./engine/engine.ts";
import { AzureTables } from "./engine/stores/tables/azureTables.ts";
import { isStagingMode, readSettings } from "./settings.ts";
import { countedBus, countedTables } from "./telemetry/counted.ts";
import { connectorOfHost, knownCredentials } from "./telemetry/credentials.ts";
import { openTelemetry } from "./telemetry/open.ts";
import { tellSignals } from "./telemetry/signals.ts";

export const settings = readSettings(process.env);

/** The folder of package.json. The worker's working directory may be another one. */
const appFolder = join(import.meta.dirname, "../..");
const configFolder = resolve(appFolder, settings.configFolder);

const deployment = loadDeployment(configFolder, process.env, connectorKinds);

const connectors = openConnectors(deployment);

const clientId = process.env.AZURE_CLIENT_ID;
const credential = new DefaultAzureCredential(
  clientId === undefined ? {} : { managedIdentityClientId: clientId },
);

const { version } = createRequire(import.meta.url)("../../package.json") as { readonly version: string };
const telemetry = openTelemetry(settings.telemetry, credential, version, (message) => console.warn(message));
const definitions = [...deployment.connectors.values()];
const signals = tellSignals(
  telemetry,
  () => Date.now(),
  (host) => connectorOfHost(definitions, host),
);
const credentials = knownCredentials(definitions, settings.telemetry.passwordEnds);

/** Tells of credentials that end soon, each once a day. */
export const tellExpiring = (): void => signals.lookAt(credentials);

const bus = new ServiceBus(
  "connectionString" in settings.serviceBus
    ? settings.serviceBus
    : { namespace: settings.serviceBus.namespace, credential },
  settings.queues,
);

const tables = new AzureTables(
  "connectionString" in settings.storage
    ? settings.storage
    : { serviceUri: settings.storage.serviceUri, credential },
);

const log = (message: string) => console.log(message);

export const engine = new Engine({
  tables: countedTables(tables, telemetry),
  bus: countedBus(bus, telemetry),
  pingBus: () => bus.ping(),
  clock: { now: () => Date.now() },
  random: () => Math.random(),
  randomHex: (digits) =>
    randomBytes(Math.ceil(digits / 2))
      .toString("hex")
      .slice(0, digits),
  configuration: await startConfiguration(deployment, rulesConnectorKind, tables, log),
  ruleFiles: () => ruleFiles(configFolder),
  openConnector: ({ name }) => connectors.get(name)!,
  stagingMode: () => isStagingMode(process.env),
  timings: settings.timings,
  telemetry,
  log,
});
