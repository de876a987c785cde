#!/bin/bash
# The child keeps the output open and outlives whoever kills only its parent.
echo "waiting for ever"
sleep 3600 &
wait
