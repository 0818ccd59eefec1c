// Nothing of it is taken.
#pragma once
