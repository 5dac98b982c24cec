/** `npm run vestibule -- doctor`: looks at everything from this machine, with the settings that it has. */
import { DefaultAzureCredential } from "@azure/identity";
import { localSettings } from "../sandbox/host/settings.ts";
import { connectorKinds, openConnectors } from "../src/connectors.ts";
import { ServiceBus } from "../src/engine/bus/serviceBus.ts";
import { loadConfiguration } from "../src/engine/configuration/loadConfiguration.ts";
import { ConfigurationError, describeProblem } from "../src/engine/core/configuration.ts";
import {
  answering,
  connectorPatients,
  type Examined,
  examineAll,
  type Patient,
  patientsNamed,
} from "../src/engine/doctor.ts";
import type { Connector, Finding } from "../src/engine/ports/connector.ts";
import { tableNames } from "../src/engine/stores/tableNames.ts";
import { AzureTables } from "../src/engine/stores/tables/azureTables.ts";
import { readSettings, type Settings } from "../src/settings.ts";
import { describeFinding } from "./print.ts";

export interface DoctorOptions {
  readonly config?: string;
  /** Only these parts: names of connectors, `settings`, `tables`, `queues`. */
  readonly only?: readonly string[];
  /** Seconds. */
  readonly timeout: number;
  readonly json?: boolean;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** @returns the exit code: 0 when nothing failed, warnings allowed; 1 otherwise */
export async function examine(options: DoctorOptions): Promise<number> {
  const environment = { ...localSettings(process.cwd()), ...process.env };
  const settings = known(() => readSettings(environment));
  const configuration = known(() =>
    loadConfiguration(options.config ?? environment.CONFIG_DIR ?? "config", environment, connectorKinds),
  );
  const connectors = configuration.value && known(() => openConnectors(configuration.value!));
  const patients: Patient[] = [
    settingsPatient([...settings.problems, ...configuration.problems, ...(connectors?.problems ?? [])]),
    ...(settings.value === undefined ? [] : platformPatients(settings.value, environment)),
    ...connectorPatients(connectors?.value ?? new Map<string, Connector>()),
  ];
  const examined: Examined[] = [];
  for await (const one of examineAll(patientsNamed(patients, options.only), options.timeout * 1000)) {
    examined.push(one);
    if (!options.json) console.log(describeFinding(one));
  }
  if (options.json) console.log(JSON.stringify(examined, null, 2));
  await Promise.all([...(connectors?.value?.values() ?? [])].map((connector) => connector.close()));
  return examined.some(({ status }) => status === "failed") ? 1 : 0;
}

interface Known<T> {
  readonly value?: T;
  readonly problems: readonly string[];
}

function known<T>(read: () => T): Known<T> {
  try {
    return { value: read(), problems: [] };
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    return { problems: error.problems.map(describeProblem) };
  }
}

function settingsPatient(problems: readonly string[]): Patient {
  const what = "settings";
  return {
    of: what,
    async *examine(): AsyncGenerator<Finding> {
      for (const message of problems) yield { what, status: "failed", message };
      if (problems.length === 0) {
        yield { what, status: "ok", message: "App settings and configuration can be read and fit together." };
      }
    },
  };
}

function platformPatients(settings: Settings, environment: Environment): Patient[] {
  const { AZURE_CLIENT_ID: clientId } = environment;
  const credential = new DefaultAzureCredential(clientId ? { managedIdentityClientId: clientId } : {});
  const { storage, serviceBus, queues } = settings;
  const tables = new AzureTables("connectionString" in storage ? storage : { ...storage, credential });
  const bus = new ServiceBus(
    "connectionString" in serviceBus ? serviceBus : { ...serviceBus, credential },
    queues,
  );
  return [
    answering(
      "tables",
      "tables",
      "Check Storage or Storage__tableServiceUri; the identity needs Storage Table Data Contributor.",
      () => tables.get(tableNames.schedule, "doctor", "doctor"),
    ),
    answering(
      "queues",
      Object.values(queues).join(", "),
      "Check ServiceBus or ServiceBus__fullyQualifiedNamespace and that the queues exist; the identity needs Azure Service Bus Data Owner.",
      () => bus.ping().finally(() => bus.close()),
    ),
  ];
}
