/**
 * What can be checked of the infrastructure without Azure: that files parse and fit together, and that they name the
 * queues, settings and roles of the code. infra/README.md says what only a compiler and a deployment can show.
 */
import { spawnSync } from "node:child_process";
import { existsSync, globSync, readFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { expect, test } from "vitest";
import { parse as parseYaml } from "yaml";
import { unsetSettings } from "../../src/engine/core/settingReferences.ts";
import { readSettings } from "../../src/settings.ts";
import { type BicepFile, readBicep } from "../support/bicep.ts";

const root = join(import.meta.dirname, "../..");
const infra = join(root, "infra");
const json = (path: string) => JSON.parse(readFileSync(join(root, path), "utf8"));
const paths = globSync("**/*.bicep", { cwd: infra }).sort();
const files = new Map<string, BicepFile>(paths.map((path) => [path, readBicep(join(infra, path))]));
const main = files.get("main.bicep")!;
const moduleNamed = (name: string) => files.get(join("modules", `${name}.bicep`))!;
const each = test.each([...files].map(([path, file]) => ({ path, file })));

// https://learn.microsoft.com/azure/azure-resource-manager/bicep/bicep-functions
const builtIns =
  `allowed base64ToString contains description empty environment guid json loadJsonContent loadTextContent maxLength maxValue
  minLength minValue replace resourceGroup resourceId secure string subscription subscriptionResourceId take tenant
  toLower toObject union uniqueString`.split(/\s+/);

each("$path is Bicep", ({ file }) => {
  expect(file.syntaxErrors).toEqual([]);
});

each("$path uses what is declared, and declares what is used", ({ file }) => {
  const { declared, used, functions, outputs, resources, modules, parameters } = file;
  const types = ["string", "object", "bool", "int", "array", "null", "true", "false"];
  expect([...used].filter((name) => !declared.has(name) && !types.includes(name))).toEqual([]);
  expect([...functions].filter((name) => !builtIns.includes(name) && !name.includes("."))).toEqual([]);
  const ends = [...outputs, ...resources.keys(), ...modules.map(({ symbol }) => symbol)];
  expect([...declared].filter((name) => !used.has(name) && !ends.includes(name))).toEqual([]);
  expect([...parameters].filter(([, { described }]) => !described)).toEqual([]);
});

each("$path names files that exist", ({ path, file }) => {
  const named = [...file.text.matchAll(/load(?:Json|Text)Content\('([^']+)'\)/g)].map(([, name]) => name!);
  const missing = [...named, ...file.modules.map((call) => call.path)].filter(
    (name) => !existsSync(resolve(infra, dirname(path), name)),
  );
  expect(missing).toEqual([]);
});

each(
  "the modules that $path calls get what they declare, and have the outputs that are read",
  ({ path, file }) => {
    for (const { symbol, path: target, params } of file.modules) {
      const called = files.get(join(dirname(path), target))!;
      const required = [...called.parameters].filter(([, { required }]) => required).map(([name]) => name);
      expect([...params].sort(), symbol).toEqual(expect.arrayContaining(required));
      expect(
        params.filter((name) => !called.parameters.has(name)),
        symbol,
      ).toEqual([]);
      const read = file.outputsRead.filter(([of]) => of === symbol).map(([, output]) => output);
      expect(
        read.filter((output) => !called.outputs.includes(output)),
        symbol,
      ).toEqual([]);
    }
  },
);

test("names and abbreviations that are read are there, and no other", () => {
  for (const [symbol, file] of [
    ["names", "infra/names.json"],
    ["abbreviations", "infra/abbreviations.json"],
  ] as const) {
    const keys = Object.keys(json(file));
    const read = main.membersRead(symbol);
    expect(read.filter((key) => !keys.includes(key))).toEqual([]);
    if (symbol === "abbreviations") expect(keys.filter((key) => !read.includes(key))).toEqual([]);
  }
});

test("the queues are those of the code, as the run protocol wants them", () => {
  const { queues } = readSettings({
    Storage: "UseDevelopmentStorage=true",
    ServiceBus__fullyQualifiedNamespace: "a",
  });
  expect(json("infra/names.json").queues).toEqual(Object.values(queues));
  const { resources, text } = moduleNamed("serviceBus");
  expect(resources.get("stepQueues")).toMatch(/^Microsoft\.ServiceBus\/namespaces\/queues@/);
  expect(text).toContain("for queue in queues");
  const [queue] = moduleNamed("serviceBus")
    .objectsAt("properties")
    .filter((properties) => properties.has("lockDuration"));
  expect(Object.fromEntries(queue!)).toMatchObject({
    requiresSession: "false",
    requiresDuplicateDetection: "true",
    deadLetteringOnMessageExpiration: "true",
    maxDeliveryCount: "10",
    lockDuration: "'PT5M'",
  });
  const { functionTimeout, extensions } = json("host.json");
  // A lock that is no longer renewed while its function works would give the message to a second one.
  expect(extensions.serviceBus.maxAutoLockRenewalDuration >= functionTimeout).toBe(true);
});

test("the worker gets the same arguments wherever it runs: deployed, on one machine, and where its memory is measured", () => {
  const { workerArguments } = json("infra/names.json");
  const [settings] = main.objectsAt("settings");
  expect(settings!.get("languageWorkers__node__arguments")).toBe("names.workerArguments");
  const sample = json("local.settings.sample.json").Values;
  expect(sample.languageWorkers__node__arguments).toBe(workerArguments);
  const program = "const { heap_size_limit: limit } = v8.getHeapStatistics(); console.log(limit > 0)";
  const { stdout } = spawnSync(process.execPath, [...workerArguments.split(" "), "-p", program]);
  expect(String(stdout)).toContain("true");
});

test("every app setting of code and configuration is set", () => {
  const [settings] = main.objectsAt("settings");
  const set = new Set([
    ...settings!.keys(),
    // The host's own, by identity.
    ...["AzureWebJobsStorage", "FUNCTIONS_WORKER_RUNTIME"],
  ]);
  const sample = Object.keys(json("local.settings.sample.json").Values);
  const byIdentity: Readonly<Record<string, string>> = {
    Storage: "Storage__tableServiceUri",
    ServiceBus: "ServiceBus__fullyQualifiedNamespace",
  };
  const sandboxOnly = ["GRAPH_CA_CERTIFICATE", "GRAPH_ACCESS_TOKEN"];
  expect(sample.filter((name) => !set.has(byIdentity[name] ?? name) && !sandboxOnly.includes(name))).toEqual(
    [],
  );

  const configured = globSync("config/**/*.yaml", { cwd: root }).flatMap((file) =>
    unsetSettings(parseYaml(readFileSync(join(root, file), "utf8")), {}),
  );
  // %GuestOU% and the like are parameters of connectors, as Entra Connect has them in its expressions.
  const inCapitals = configured.filter((name) => /^[A-Z_]+$/.test(name));
  expect(inCapitals.length).toBeGreaterThan(3);
  expect(inCapitals.filter((name) => !set.has(name))).toEqual([]);

  const sources = globSync("src/**/*.ts", { cwd: root }).map((file) =>
    readFileSync(join(root, file), "utf8"),
  );
  const named = new Set(sources.flatMap((text) => text.match(/\b(?:AD|GRAPH|GUEST|AZURE)_[A-Z_]+\b/g) ?? []));
  expect(named.size).toBeGreaterThan(6);
  expect([...named].filter((name) => !set.has(name) && !sandboxOnly.includes(name))).toEqual([]);
  // The platform's own: what is left out has a default that a deployment does not need to know.
  const read = new Set(
    sources.flatMap((text) =>
      [
        ...text.matchAll(/\benvironment\.([A-Z][A-Z_]+)|\benv\.([A-Z][A-Z_]+)/g),
        ...text.matchAll(/\b(?:text|time|amount|seconds|listOfSeconds|schedule)\(\s*"()([A-Z]\w+)"/g),
      ].map(([, one, other]) => (one || other)!),
    ),
  );
  expect([...read].filter((name) => !set.has(byIdentity[name] ?? name)).sort()).toEqual([
    "APPLICATION_INSIGHTS_NO_STATSBEAT",
    "AUDIT_RETENTION",
    "EXPORT_QUEUE",
    "IMPORT_QUEUE",
    "OBJECT_HISTORY_RETENTION",
    "RUN_HISTORY_RETENTION",
    "RUN_LEASE_SECONDS",
    "RUN_RETRY_SECONDS",
    "RUN_TIME_BUDGET_SECONDS",
    "SYNC_QUEUE",
    "WATCHDOG_SCHEDULE",
    "WEBSITE_AUTH_ENABLED", // App Service sets it
  ]);
  expect(settings!.get("WEBHOOK_URL")).toContain("@Microsoft.KeyVault(");
  expect(settings!.get("AD_BIND_PASSWORD")).toContain("@Microsoft.KeyVault(");
});

test("keys are off: everything is reached by the identity, which has the roles for it", () => {
  expect(moduleNamed("storage").text).toContain("allowSharedKeyAccess: false");
  expect(moduleNamed("serviceBus").text).toContain("disableLocalAuth: true");
  expect(moduleNamed("monitoring").text).toContain("DisableLocalAuth: true");
  expect(moduleNamed("keyVault").text).toContain("enableRbacAuthorization: true");
  const { text, resources } = moduleNamed("roles");
  // https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
  for (const id of [
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b", // Storage Blob Data Owner
    "974c5e8b-45b9-4653-ba55-5f855dd0fb88", // Storage Queue Data Contributor
    "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3", // Storage Table Data Contributor
    "090c5cfd-751d-490a-894a-3ce6f1109419", // Azure Service Bus Data Owner
    "4633458b-17de-408a-b874-0445c86b69e6", // Key Vault Secrets User
    "3913510d-42f4-4e42-8a64-420c390055eb", // Monitoring Metrics Publisher
  ]) {
    expect(text).toContain(id);
  }
  const assigned = [...resources].filter(([, type]) =>
    type.startsWith("Microsoft.Authorization/roleAssignments@"),
  );
  expect(assigned.map(([symbol]) => symbol)).toEqual(["ofStorage", "ofServiceBus", "ofVault", "ofInsights"]);
});

test("what azd asks for are parameters, and no required one is forgotten", () => {
  const given = Object.keys(json("infra/main.parameters.json").parameters);
  expect(given.filter((name) => !main.parameters.has(name))).toEqual([]);
  const required = [...main.parameters].filter(([, { required }]) => required).map(([name]) => name);
  expect(required.filter((name) => !given.includes(name))).toEqual([]);

  const azd = parseYaml(readFileSync(join(root, "azure.yaml"), "utf8"));
  expect(existsSync(join(root, azd.infra.path, `${azd.infra.module}.bicep`))).toBe(true);
  expect(main.text).toContain(`'azd-service-name': '${Object.keys(azd.services)[0]}'`);
  // azd substitutes in the text of the JSON: a certificate of several lines would end it.
  expect(main.text).toContain("base64ToString(adCaCertificate)");
  expect(readFileSync(join(root, "docs/install.md"), "utf8")).toMatch(
    /AD_CA_CERTIFICATE "\$\(base64 < [^)]*\| tr -d '\\n'\)"/,
  );
  const scripts = readFileSync(join(root, "azure.yaml"), "utf8").match(/infra\/\S+\.ps1/g)!;
  expect(scripts.filter((script) => !existsSync(join(root, script)))).toEqual([]);
});

test("people get tokens for the API with the client that the installation guide uses", () => {
  const script = readFileSync(join(infra, "graph/Register-Api.ps1"), "utf8");
  expect(readFileSync(join(root, "docs/install.md"), "utf8")).toContain("az account get-access-token");
  const azureCli = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"; // its application id in every tenant
  expect(script).toMatch(new RegExp(`\\$clients = @\\('${azureCli}'`));
  expect(script).toContain("PreAuthorizedApplications = $known + $clients");
  expect(script).toContain("Oauth2PermissionScopes = $scopes");
});

test("each alert names connector, objects and remedy, which its query returns", () => {
  const { text } = moduleNamed("alerts");
  expect(text).toContain("var dimensions = ['connector', 'objects', 'remedy']");
  const queries = globSync("queries/*.kql", { cwd: infra });
  expect(queries.length).toBe(6);
  for (const query of queries) {
    expect(text, query).toContain(`../queries/${basename(query)}`);
    const columns = readFileSync(join(infra, query), "utf8").split("| project").at(-1)!;
    for (const column of ["connector", "objects", "remedy"]) expect(columns, query).toContain(`${column} =`);
  }
  expect(text).toContain("metricName: 'DeadletteredMessages'");
  // Single objects in error must not look like no cycle at all, every day until somebody mends them.
  const overdue = readFileSync(join(infra, "queries/no-successful-cycle.kql"), "utf8");
  expect(overdue).toContain("customDimensions.outcome) startswith 'succeeded'");
  expect(readFileSync(join(infra, "workbook.json"), "utf8")).not.toContain("== 'succeeded'");
});

test("sampling leaves alone what alerts ask for", () => {
  expect(moduleNamed("monitoring").text).toContain("SamplingPercentage: 100");
  const { samplingSettings } = json("host.json").logging.applicationInsights;
  expect(samplingSettings.excludedTypes.split(";")).toEqual(
    expect.arrayContaining(["Event", "Exception", "Request"]),
  );
});

test("the workbook is one", () => {
  const { version, items } = json("infra/workbook.json");
  expect(version).toBe("Notebook/1.0");
  const headings = items.flatMap((item: { content: { json?: string } }) => item.content.json ?? []);
  for (const part of ["Operations", "Trends", "Errors", "Cost"]) expect(headings).toContain(`## ${part}`);
});
