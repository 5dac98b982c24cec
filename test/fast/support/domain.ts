/** A domain as the AD connector knows it once it has read root DSE and schema. */
import type { DomainController } from "../../../src/engine/connectors/ad/domainController.ts";
import type { AdSchema } from "../../../src/engine/connectors/ad/schema.ts";

export const schema: AdSchema = new Map([
  ["user", { name: "user", attributes: new Map(), rdnAttribute: "cn" }],
]);
export const dc: DomainController = {
  invocationId: "one",
  dsServiceName: "CN=NTDS Settings,CN=DC1",
  highestUsn: 1_000n,
  schemaNamingContext: "CN=Schema",
};
