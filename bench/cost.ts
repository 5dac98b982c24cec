/** `bench/cost.md`: what a deployment costs in Azure each month, from the requests that the engine bench has counted. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { StepResult } from "./engine.ts";
import { prices } from "./prices.ts";
import { keptResults } from "./results.ts";
import { requestsOf } from "./tables.ts";

const daysOfMonth = 30;
const hoursOfMonth = 730;
const cyclesOfMonth = daysOfMonth * 48;
const minutesOfMonth = daysOfMonth * 24 * 60;
const populations = [1_000, 10_000, 100_000] as const;

/** What is assumed where nothing can be counted here. */
const assumed = {
  /** New, changed and deleted guests in a month, of all. */
  changedShare: 0.1,
  /** A row of the index, a line of history and so on, beside the rows that a full synchronisation reads. */
  otherRows: 1.5,
  /** Seconds of an execution of a queue function or a timer: Flex Consumption bills one at least. */
  executionSeconds: 1,
  instanceGB: 2,
  /** Telemetry of a cycle and of a minute without one. */
  cycleKB: 100,
  minuteKB: 1,
  /** Operations of Service Bus for a message: send, receive, complete, and its share of empty receives. */
  operationsOfMessage: 5,
  /** Requests of the watchdog each minute: open runs, the age of the last cycle, what retention removes. */
  watchdogRequests: 4,
} as const;

interface Cost {
  readonly guests: number;
  readonly requests: number;
  readonly messages: number;
  readonly gigabytes: number;
  /** Dollars a month. */
  readonly tables: number;
  readonly serviceBus: number;
  readonly insights: number;
  readonly flex: number;
}

export async function run(): Promise<void> {
  const kept = keptResults().get("engine");
  if (kept === undefined) throw new Error("Nothing is counted yet: npm run bench -- engine");
  const steps = kept.results as readonly StepResult[];
  const costs = populations.map((guests) => costOf(guests, steps));
  writeFileSync(join(import.meta.dirname, "cost.md"), document(costs, kept.measuredAt));
  console.log("bench/cost.md is written.");
}

function costOf(guests: number, steps: readonly StepResult[]): Cost {
  const idle = largest(steps, "delta cycle, idle", guests);
  const changed = largest(steps, "delta cycle, 10 changes", guests);
  const changes = guests * assumed.changedShare;
  // What ten changes cost above an idle cycle, for every ten changes.
  const share = changes / 10;
  const requests =
    cyclesOfMonth * requestsOf(idle.requests) +
    share * (requestsOf(changed.requests) - requestsOf(idle.requests)) +
    minutesOfMonth * assumed.watchdogRequests;
  const messages = cyclesOfMonth * idle.messages + share * (changed.messages - idle.messages);
  const read = largest(steps, "full synchronisation, unchanged", guests);
  const gigabytes = (read.requests.bytesRead / read.objects) * guests * (1 + assumed.otherRows) * 1e-9;
  const executions = messages + cyclesOfMonth + minutesOfMonth;
  const gigabyteSeconds = executions * assumed.executionSeconds * assumed.instanceGB;
  const logs = (cyclesOfMonth * assumed.cycleKB + minutesOfMonth * assumed.minuteKB) * 1e-6;
  return {
    guests,
    requests,
    messages,
    gigabytes,
    tables: (requests / 10_000) * prices.tableRequests.dollars + gigabytes * prices.tableData.dollars,
    serviceBus: prices.serviceBusBase.dollars, // millions of operations below what is included
    insights: Math.max(0, logs - 5) * prices.logs.dollars,
    flex:
      Math.max(0, gigabyteSeconds - 100_000) * prices.flexSeconds.dollars +
      (Math.max(0, executions - 250_000) / 1e6) * prices.flexExecutions.dollars,
  };
}

/** The measure of this step for the largest population up to `guests`. */
function largest(steps: readonly StepResult[], step: string, guests: number): StepResult {
  const found = steps
    .filter((one) => one.step === step && one.objects <= guests)
    .toSorted((a, b) => b.objects - a.objects)[0];
  if (found === undefined) throw new Error(`Nothing is counted for "${step}": npm run bench -- engine`);
  return found;
}

function document(costs: readonly Cost[], countedAt: string): string {
  const dollars = (amount: number) => `$${amount.toFixed(2)}`;
  const count = (number: number) => Math.round(number).toLocaleString("en");
  const columns = costs.map(({ guests }) => `${count(guests)} guests`);
  const line = (name: string, of: (cost: Cost) => string) => `| ${name} | ${costs.map(of).join(" | ")} |`;
  const heading = [`| | ${columns.join(" | ")} |`, `|---|${columns.map(() => "--:|").join("")}`];
  const dedicated = prices.dedicatedPlan.dollars * hoursOfMonth;
  const shared = (cost: Cost) => cost.tables + cost.serviceBus + cost.insights;
  const hybrid = prices.hybridConnection.dollars;
  return `# What it costs

Written by \`npm run bench -- cost\` from requests that \`npm run bench -- engine\` counted on ${countedAt.slice(0, 10)}, with
list prices below. A delta cycle every 30 minutes, ${cyclesOfMonth.toLocaleString("en")} a month; ${assumed.changedShare * 100} percent of the guests are new,
changed or deleted in a month.

## Counted for a month

${heading.join("\n")}
${line("requests to the tables", ({ requests }) => count(requests))}
${line("messages", ({ messages }) => count(messages))}
${line("data, GB", ({ gigabytes }) => gigabytes.toFixed(3))}

## Dollars a month

${heading.join("\n")}
${line("Table Storage", (cost) => dollars(cost.tables))}
${line("Service Bus Standard", (cost) => dollars(cost.serviceBus))}
${line("Application Insights", (cost) => dollars(cost.insights))}
${line("**hybrid connection**: App Service P0v3, as deployed, and its listener", () => dollars(dedicated + hybrid))}
${line("together", (cost) => `**${dollars(shared(cost) + dedicated + hybrid)}**`)}
${line("**hybrid connection** on Elastic Premium EP1 and its listener", () => dollars(prices.elasticPremium.dollars + hybrid))}
${line("together", (cost) => `**${dollars(shared(cost) + prices.elasticPremium.dollars + hybrid)}**`)}
${line("**vnet**: Flex Consumption", (cost) => dollars(cost.flex))}
${line("together", (cost) => `**${dollars(shared(cost) + cost.flex)}**`)}

The price is that of what waits, not of what is done: the requests of 100,000 guests are cents. With a virtual network the
VPN gateway or ExpressRoute that leads home is not in these numbers, as whoever has one pays for it already. Nor are Key
Vault (fractions of a cent), the Functions host's own storage for timers, private endpoints, and Service Bus Premium, which
private networking asks for and which costs more than all else together.

## Where the prices are from

They are list prices in US dollars without tax, gathered on 2026-11-21 from stored copies of public pages; the live price
list could not be asked. Ask the [calculator](https://azure.microsoft.com/pricing/calculator/) before you decide anything.

| | dollars | for | region | read from |
|---|--:|---|---|---|
${Object.values(prices)
  .map((one) => `| ${one.what} | ${one.dollars} | ${one.unit} | ${one.region} | ${one.checked} |`)
  .join("\n")}

## What is assumed, because it cannot be counted here

- The rows beside those that a full synchronisation reads (indexes, histories) take ${assumed.otherRows} times as much as those.
- An execution takes ${assumed.executionSeconds} s on ${assumed.instanceGB} GB, the least that Flex Consumption bills; the watchdog runs each minute and sends
  ${assumed.watchdogRequests} requests.
- A message is ${assumed.operationsOfMessage} operations of Service Bus, its share of empty receives included: far below the 13 million that are included.
- A cycle tells ${assumed.cycleKB} KB of telemetry, a minute without one ${assumed.minuteKB} KB: below the 5 GB that are free.
`;
}
