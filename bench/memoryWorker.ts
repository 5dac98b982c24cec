/** A worker of the memory bench: a full import and a full synchronisation, twice each; tells its peak in KiB. */
import { Deployment } from "./deployment.ts";
import { tablesOfParent } from "./tablesOverIpc.ts";

const deployment = new Deployment(tablesOfParent(), Number(process.argv[2]));
for (const connector of ["MIMMA", "AADMA", "AADMA"])
  for (const profile of ["Full Import (Stage Only)", "Full Synchronization"])
    await deployment.profile(connector, profile);
process.send!({ result: process.resourceUsage().maxRSS }, () => process.disconnect());
