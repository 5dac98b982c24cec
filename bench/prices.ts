/**
 * List prices in US dollars, without tax or agreement. They were gathered on 2026-11-21 from stored copies of public
 * pages, since no live page could be asked: `checked` says what each was read from, and which only general knowledge is.
 */
export interface Price {
  readonly what: string;
  readonly dollars: number;
  /** For how much. */
  readonly unit: string;
  readonly region: string;
  /** Where it was read, and of when; or that it could not be. */
  readonly checked: string;
}

export const prices = {
  tableRequests: {
    what: "Table Storage, any request",
    dollars: 0.00036,
    unit: "10,000 requests",
    region: "the same in East US and Southeast Asia",
    checked: "quotation of the Retail Prices API (prices.azure.com, Storage, Tables) in a public repository",
  },
  tableData: {
    what: "Table Storage, data, ZRS",
    dollars: 0.0563,
    unit: "GB and month",
    region: "East US",
    checked: "stored copy of the price table of Table Storage (LRS 0.045); the deployment has ZRS",
  },
  serviceBusBase: {
    what: "Service Bus Standard, 13 million operations included",
    dollars: 10,
    unit: "month",
    region: "West Europe",
    checked: "quotation of the Retail Prices API (0.013441 an hour) in a public repository",
  },
  dedicatedPlan: {
    what: "App Service P0v3, Windows",
    dollars: 0.162,
    unit: "hour",
    region: "UK South",
    checked: "public cost estimate of 2026; others have 0.123 to 0.15, the highest is taken",
  },
  elasticPremium: {
    what: "Functions Premium EP1, one instance",
    dollars: 175,
    unit: "month",
    region: "East US",
    checked: "cloudtoolstack.com, 2026-02-22",
  },
  hybridConnection: {
    what: "Hybrid connection, one listener, 5 GB included",
    dollars: 9.78,
    unit: "month",
    region: "East US",
    checked: "not verified: general knowledge",
  },
  flexSeconds: {
    what: "Flex Consumption on demand, 100,000 GB-s a month free",
    dollars: 0.000026,
    unit: "GB-s",
    region: "East US",
    checked: "modal.com, guide to prices, 2025-05-22; the free grant is general knowledge",
  },
  flexExecutions: {
    what: "Flex Consumption, executions, 250,000 a month free",
    dollars: 0.4,
    unit: "million executions",
    region: "East US",
    checked: "not verified: general knowledge",
  },
  logs: {
    what: "Application Insights in a Log Analytics workspace, 5 GB a month free",
    dollars: 2.76,
    unit: "GB",
    region: "East US",
    checked: "public calculator; a price list of 2022 had 2.30, the higher is taken",
  },
} as const satisfies Readonly<Record<string, Price>>;
