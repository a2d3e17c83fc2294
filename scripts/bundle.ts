// Bundles the services into dist/image, for the Dockerfile. stdout = the folder.
import { bundleServices } from "./install/product-image.ts";

process.stdout.write(`${await bundleServices()}\n`);
