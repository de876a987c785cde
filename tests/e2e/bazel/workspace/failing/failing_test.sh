#!/bin/bash
echo "expected tea, got coffee"
exit 1
