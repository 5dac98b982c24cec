/**
 * The one file that names concrete connectors, stores, clock and bus. It is loaded with the function app: a mistake in
 * configuration or settings is thrown here, before any function is registered.
 */
import { randomBytes } from "node:crypto";
import { DefaultAzureCredential } from "@azure/identity";
import { ServiceBus } from "./engine/bus/serviceBus.ts";
import { loadConfiguration } from "./engine/configuration/loadConfiguration.ts";
import { AdConnector } from "./engine/connectors/ad/adConnector.ts";
import { type AdSettings, adSettingsSchema } from "./engine/connectors/ad/settings.ts";
import { GraphConnector } from "./engine/connectors/graph/connector.ts";
import { type GraphSettings, graphSettingsSchema } from "./engine/connectors/graph/settings.ts";
import type { ConnectorConfiguration, SettingsSchema } from "./engine/core/configuration.ts";
import { Engine } from "./engine/engine.ts";
import type { Connector } from "./engine/ports/connector.ts";
import { AzureTables } from "./engine/stores/tables/azureTables.ts";
import { readSettings } from "./settings.ts";

export const settings = readSettings(process.env);

const configuration = loadConfiguration(
  settings.configFolder,
  process.env,
  new Map<string, SettingsSchema>([
    ["graph", graphSettingsSchema],
    ["ad", adSettingsSchema],
  ]),
);

/** @throws Error for a kind that has no implementation, which the configuration's checks have ruled out. */
function openConnector(definition: ConnectorConfiguration): Connector {
  switch (definition.kind) {
    case "graph":
      return new GraphConnector(definition, definition.settings as GraphSettings);
    case "ad":
      return new AdConnector(definition, definition.settings as AdSettings);
    default:
      throw new Error(`Connector ${definition.name}: there is no kind ${definition.kind}.`);
  }
}

const clientId = process.env.AZURE_CLIENT_ID;
const credential = new DefaultAzureCredential(
  clientId === undefined ? {} : { managedIdentityClientId: clientId },
);

const bus = new ServiceBus(
  "connectionString" in settings.serviceBus
    ? settings.serviceBus
    : { namespace: settings.serviceBus.namespace, credential },
  settings.queues,
);

export const engine = new Engine({
  tables: new AzureTables(
    "connectionString" in settings.storage
      ? settings.storage
      : { serviceUri: settings.storage.serviceUri, credential },
  ),
  bus,
  pingBus: () => bus.ping(),
  clock: { now: () => Date.now() },
  random: () => Math.random(),
  randomHex: (digits) =>
    randomBytes(Math.ceil(digits / 2))
      .toString("hex")
      .slice(0, digits),
  configuration,
  openConnector,
  stagingMode: () => (process.env.STAGING_MODE ?? "false").toLowerCase() === "true",
  timings: settings.timings,
  log: (message) => console.log(message),
});
