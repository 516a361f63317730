"""Where trials run: Ray on this machine or on a cluster. The only importer of ray."""
