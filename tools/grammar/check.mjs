// Reads a list of queries as JSON and writes those that the grammar of LogQL does not take, as JSON: the text and where it ends to be LogQL.
import { readFileSync } from "node:fs";
import { parser } from "@grafana/lezer-logql";

const refused = [];
for (const text of JSON.parse(readFileSync(0, "utf8"))) {
  let place = -1;
  parser.parse(text).iterate({
    enter: (node) => {
      if (node.type.isError && place < 0) place = node.from;
    },
  });
  if (place >= 0) refused.push({ text, place });
}
process.stdout.write(JSON.stringify(refused));
